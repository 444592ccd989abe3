#include "launch/bench/bench_decode.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include <chrono>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "launch/bench/row.h"
#include "launch/bench/stopwatch.h"
#include "parallel/communicator.h"
#include "trainer/evaluation/generator.h"

namespace dagpam::launch {

namespace {

constexpr int64_t kReadBytes = int64_t{1} << 29;

// A batch of sequences in generation.
class Decoder {
 public:
  Decoder(const trainer::TransformerLm& model, int64_t batch, int64_t past)
      : model_(model), batch_(batch), past_(past), caches_(model.make_caches()) {
    trainer::next_logits(model_, at::full({batch, past}, 1, at::kLong), caches_);
    tokens_ = at::full({batch, 1}, 1, at::kLong);
  }

  // Milliseconds a step, over `steps` from the same past on.
  double run(int64_t steps) {
    for (auto& cache : caches_) cache.length = past_;
    return device_milliseconds(at::kCPU,
                               [&] {
                                 for (int64_t step = 0; step < steps; ++step) {
                                   const at::Tensor logits =
                                       trainer::next_logits(model_, tokens_, caches_);  // [B, V]
                                   for (int64_t b = 0; b < batch_; ++b) {
                                     tokens_.mutable_data_ptr<int64_t>()[b] =
                                         trainer::sample_token(logits.select(0, b), {}, step);
                                   }
                                 }
                               }) /
           static_cast<double>(steps);
  }

 private:
  const trainer::TransformerLm& model_;
  int64_t batch_, past_;
  std::vector<attention::KeyValueCache> caches_;
  at::Tensor tokens_;  // [B, 1]
};

// What a step must read: every weight but the rows of tables that are only looked up, and the keys
// and values of each sequence, of which there are past + tokens / 2 on average.
double bytes_of_step(const trainer::TransformerLm& model, const DecodeBenchOptions& options,
                     int64_t batch) {
  const auto& config = model.config();
  int64_t elements = 0;
  for (const auto& parameter : model.parameters().all()) {
    const bool looked_up =
        parameter->name == "embedding.position.weight" ||
        (parameter->name == "embedding.token.weight" && !config.tied_embeddings());
    if (!looked_up) elements += parameter->value.numel();
  }
  const double past = static_cast<double>(options.past) + static_cast<double>(options.tokens) / 2;
  const int64_t row = config.width() / config.heads() * config.kv_heads();
  const double held = 2.0 * past * static_cast<double>(batch * config.layers() * row);
  return sizeof(float) * (static_cast<double>(elements) + held);
}

}  // namespace

void bench_decode(const DecodeBenchOptions& options) {
  const at::NoGradGuard no_grad;
  const configs::RunConfig config = configs::with_defaults(options.config);
  if (config.model().vocab() <= 0) {
    throw ConfigError("model.vocab: not set: say how many symbols, e.g. --set model.vocab=50257");
  }
  if (options.past + options.tokens > config.model().context()) {
    throw ConfigError("--past " + std::to_string(options.past) + " and --tokens " +
                      std::to_string(options.tokens) + " are more than model.context = " +
                      std::to_string(config.model().context()) + ": give fewer");
  }
  const auto alone = parallel::make_self_communicator();
  trainer::TransformerLm model(config.model(), config.attention(), trainer::TensorParallel{*alone});
  model.parameters().initialise(1);
  const at::Tensor memory = at::ones({kReadBytes / int64_t{sizeof(float)}}, at::kFloat);
  for (const int64_t batch : options.batches) {
    Decoder decoder(model, batch, options.past);
    decoder.run(2);
    std::vector<double> ours, reading;
    for (int64_t round = 0; round < options.rounds; ++round) {
      ours.push_back(decoder.run(options.tokens));
      reading.push_back(device_milliseconds(at::kCPU, [&] { memory.sum().item<float>(); }));
    }
    BenchRow row;
    row.name = "decode";
    row.shape = "batch " + std::to_string(batch) + ", " + std::to_string(config.model().layers()) +
                " layers, width " + std::to_string(config.model().width()) + ", past " +
                std::to_string(options.past);
    row.kernel = configs::AttentionConfig::Kind_Name(config.attention().kind());
    row.ours_ms = median(ours);
    row.spread = spread(ours);
    row.per_second = static_cast<double>(batch) / row.ours_ms * 1e3;
    row.unit = "tokens";
    row.bytes = bytes_of_step(model, options, batch);
    row.peer = "reading the bytes";
    row.peer_ms = median(reading) * row.bytes / static_cast<double>(kReadBytes);
    print_row(row, options.json);
  }
}

}  // namespace dagpam::launch

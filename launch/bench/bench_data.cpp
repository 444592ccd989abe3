#include "launch/bench/bench_data.h"

#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "configs/errors.h"
#include "configs/run.pb.h"
#include "data/batch_source.h"
#include "data/sidecar.h"
#include "data/tokenizer.h"
#include "launch/bench/peer.h"
#include "launch/bench/row.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void bench_loader(const DataBenchOptions& options) {
  constexpr int64_t kBatches = 500;
  configs::DataConfig config;
  config.add_train()->set_prefix(options.prefix);
  data::BatchOptions batch;
  batch.context = options.context;
  batch.global_batch = batch.micro_batch = options.batch;
  batch.vocab = data::read_sidecar(options.prefix).vocab_size;
  const auto source = data::open_batches(config, batch, {});
  std::vector<double> times;
  int64_t sum = 0;  // of what was read, so that the work is used
  for (int64_t round = 0; round <= options.rounds; ++round) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < kBatches; ++i) sum += source->next().inputs.back();
    if (round > 0) times.push_back(milliseconds_since(start) / kBatches);
  }
  BenchRow row;
  row.name = "loader";
  row.shape = std::to_string(options.batch) + " x " + std::to_string(options.context) + " tokens";
  row.kernel = sum < 0 ? "" : "prefetch thread";
  row.ours_ms = median(times);
  row.spread = spread(times);
  row.per_second = static_cast<double>(options.batch * options.context) / row.ours_ms * 1e3;
  row.unit = "tokens";
  print_row(row, options.json);
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) throw DataError(path + ": cannot read: give a text file with --text");
  return text.str();
}

void bench_tokenizer(const DataBenchOptions& options) {
  const std::string text = read_text(options.text);
  const auto tokenizer = data::make_tokenizer(options.tokenizer, text);
  std::unique_ptr<Peer> peer;
  if (!options.peer.empty()) peer = std::make_unique<Peer>(options.peer);
  std::vector<double> ours, theirs;
  std::vector<int32_t> ids;
  for (int64_t round = 0; round < options.rounds; ++round) {
    ids.clear();
    const auto start = Clock::now();
    tokenizer->encode(text, ids);
    ours.push_back(milliseconds_since(start));
    if (peer) theirs.push_back(peer->run(1).step_ms);
  }
  BenchRow row;
  row.name = "tokenizer";
  row.shape = options.tokenizer.substr(0, options.tokenizer.find(':')) + ", " +
              std::to_string(text.size()) + " bytes, " + std::to_string(ids.size()) + " tokens";
  row.ours_ms = median(ours);
  row.spread = spread(ours);
  row.per_second = static_cast<double>(text.size()) / row.ours_ms * 1e3;
  row.unit = "bytes";
  if (peer) {
    row.peer = peer->name();
    row.peer_ms = median(theirs);
  }
  print_row(row, options.json);
}

}  // namespace

void bench_data(const DataBenchOptions& options) {
  if (options.prefix.empty() && options.text.empty()) {
    throw ConfigError(
        "bench data: give a data set (--data PREFIX), a text (--text FILE --tokenizer T), or both");
  }
  if (!options.text.empty() && options.tokenizer.empty()) {
    throw ConfigError("--tokenizer: missing: --text needs one, e.g. --tokenizer gpt2:DIR");
  }
  if (!options.prefix.empty()) bench_loader(options);
  if (!options.text.empty()) bench_tokenizer(options);
}

}  // namespace dagpam::launch

#include "launch/bench/bench_save.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "data/tokenizer.h"
#include "launch/bench/row.h"
#include "parallel/communicator.h"
#include "parallel/grid.h"
#include "trainer/run_saver.h"
#include "trainer/state_tensors.h"
#include "trainer/training_step.h"

namespace dagpam::launch {

namespace {

template <typename Work>
double milliseconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// A layer has 12 width^2 parameters, each with two moments.
configs::RunConfig config_of(int64_t mib) {
  const int64_t width = mib < 100 ? 64 : 512;
  const int64_t layers = std::max<int64_t>(1, (mib << 20) / (12 * width * width * 12));
  return configs::with_defaults(configs::load(
      {}, {"model.width=" + std::to_string(width), "model.heads=8", "model.context=64",
           "model.vocab=256", "model.layers=" + std::to_string(layers), "train.steps=1",
           "train.global_batch=1", "train.micro_batch=1", "schedule.decay_steps=1",
           "checkpoint.keep=1", "data.train.0.prefix=none"}));
}

// As many bytes as a save copies, from where it copies them.
class PlainCopy {
 public:
  explicit PlainCopy(trainer::TrainingStep& step) {
    for (const trainer::NamedTensor& tensor : trainer::state_of(step, /*zero=*/false)) {
      sources_.push_back(trainer::bytes_of(tensor.value));
      bytes_ += sources_.back().size();
    }
  }
  size_t bytes() const { return bytes_; }

  void run() {
    if (!memory_) memory_ = std::make_unique_for_overwrite<std::byte[]>(bytes_);
    std::byte* to = memory_.get();
    for (const std::span<const std::byte> source : sources_) {
      std::memcpy(to, source.data(), source.size());
      to += source.size();
    }
  }

 private:
  std::vector<std::span<const std::byte>> sources_;
  size_t bytes_ = 0;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace

void bench_save(const CheckpointBenchOptions& options, const std::string& directory) {
  const configs::RunConfig config = config_of(options.mib);
  const auto world = parallel::make_self_communicator();
  const parallel::Grid grid = parallel::make_grid(*world, 1);
  trainer::TrainingStep step(config, grid);
  trainer::RunSaver saver({directory,
                           std::string(32, '0'),
                           {},
                           config,
                           data::make_tokenizer("byte", std::string_view{})->to_json()},
                          step, grid, *world);
  PlainCopy copy(step);
  trainer::Progress progress;
  progress.run_id = "bench";
  std::vector<double> stalls, copies;
  // The first of these rounds is the one without memory.
  for (int64_t round = 0; round <= options.rounds; ++round) {
    const auto copied = [&] { copies.push_back(milliseconds_of([&] { copy.run(); })); };
    if (round % 2 == 0) copied();
    ++progress.step;
    stalls.push_back(milliseconds_of([&] { saver.begin(progress); }));
    saver.finish();
    if (round % 2 != 0) copied();
  }
  const auto print = [&](const char* name, const char* peer, size_t from, size_t to) {
    const auto part = [&](const std::vector<double>& times) {
      return std::vector<double>(times.begin() + static_cast<std::ptrdiff_t>(from),
                                 times.begin() + static_cast<std::ptrdiff_t>(to));
    };
    BenchRow row;
    row.name = name;
    row.shape = std::to_string(copy.bytes() >> 20) + " MiB";
    row.kernel = "what a background save makes training wait";
    row.ours_ms = median(part(stalls));
    row.spread = spread(part(stalls));
    row.per_second = static_cast<double>(copy.bytes()) / row.ours_ms * 1e3;
    row.unit = "bytes";
    row.peer = peer;
    row.peer_ms = median(part(copies));
    print_row(row, options.json);
  };
  print("first stall", "copy into new memory", 0, 1);
  print("stall", "copy in memory", 1, stalls.size());
}

}  // namespace dagpam::launch

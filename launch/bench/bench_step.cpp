#include "launch/bench/bench_step.h"

#include <chrono>
#include <memory>
#include <vector>

#include "configs/run_config.h"
#include "data/batch_source.h"
#include "launch/bench/peer.h"
#include "launch/bench/process_time.h"
#include "launch/bench/row.h"
#include "parallel/devices.h"
#include "trainer/run_plan.h"
#include "trainer/telemetry/console.h"
#include "trainer/training_step.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

class Stepper {
 public:
  Stepper(const trainer::RunPlan& plan, parallel::Communicator& world)
      : grid_(parallel::make_grid(world, plan.ranks / plan.copies)),
        step_(plan.config, grid_),
        batches_(data::open_batches(plan.config.data(),
                                    trainer::batch_options(plan, grid_.dp->rank()), {})) {}

  // Milliseconds a step: on the CPU the median of `count`; on a GPU their mean, since there the
  // host runs ahead of the device, as in training, and a wait at each step would show what it
  // hides.
  double run(int64_t count) {
    const at::Device device = grid_.dp->device();
    std::vector<double> times;
    auto start = Clock::now();
    const auto since = [&start] {
      return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    };
    for (int64_t i = 0; i < count; ++i) {
      step_.compute_gradients(done_, [&]() -> const data::Batch& { return batches_->next(); });
      step_.update(done_++);
      if (!device.is_cpu()) continue;
      times.push_back(since());
      start = Clock::now();
    }
    if (device.is_cpu()) return median(times);
    parallel::wait_for_device(device);
    return since() / static_cast<double>(count);
  }

 private:
  parallel::Grid grid_;
  trainer::TrainingStep step_;
  std::unique_ptr<data::BatchSource> batches_;
  int64_t done_ = 0;
};

}  // namespace

void bench_step(const StepBenchOptions& options, parallel::Communicator& world) {
  const trainer::RunPlan plan = trainer::plan_run(options.config, world.size());
  Stepper stepper(plan, world);
  stepper.run(1);
  const double first_step_s = seconds_since_start();
  std::unique_ptr<Stepper> other;
  if (!options.against.empty()) {
    configs::RunConfig config = options.config;
    for (const std::string& one : options.against) configs::apply_override(config, one);
    other = std::make_unique<Stepper>(trainer::plan_run(config, world.size()), world);
    other->run(5);
  }
  std::unique_ptr<Peer> peer;
  if (!options.peer.empty() && world.rank() == 0) peer = std::make_unique<Peer>(options.peer);
  stepper.run(4);  // warms caches and allocator
  std::vector<double> ours, theirs;
  double peer_memory = 0;
  for (int64_t round = 0; round < options.rounds; ++round) {
    world.barrier();
    ours.push_back(stepper.run(options.steps));
    if (other) {
      world.barrier();
      theirs.push_back(other->run(options.steps));
    }
    if (!peer) continue;
    const PeerTiming timing = peer->run(options.steps);
    theirs.push_back(timing.step_ms);
    peer_memory = timing.peak_memory;
  }
  if (world.rank() != 0) return;
  const auto& model = plan.config.model();
  BenchRow row;
  row.name = "step";
  row.shape = std::to_string(model.layers()) + " layers, width " + std::to_string(model.width()) +
              ", " + std::to_string(plan.config.train().global_batch()) + " x " +
              std::to_string(model.context());
  row.kernel = configs::AttentionConfig::Kind_Name(plan.config.attention().kind());
  row.ranks = world.size();
  row.ours_ms = median(ours);
  row.spread = spread(ours);
  row.per_second = static_cast<double>(plan.tokens_per_step) / row.ours_ms * 1e3;
  row.unit = "tokens";
  row.tflops = trainer::flops_per_token(plan.config) * row.per_second / 1e12;
  row.first_step_s = first_step_s;
  const bool on_cpu = world.device().is_cpu();
  row.device = on_cpu ? "cpu" : parallel::device_name(world.device());
  row.memory_mib = on_cpu ? 1024 * trainer::peak_memory_gib()
                          : parallel::peak_device_bytes(world.device()) / (1024.0 * 1024.0);
  if (other) {
    for (const std::string& one : options.against) row.peer += (row.peer.empty() ? "" : " ") + one;
    row.peer_ms = median(theirs);
  }
  if (peer) {
    row.peer = peer->name();
    row.peer_ms = median(theirs);
    row.peer_first_step_s = peer->first_step_s();
    row.peer_memory_mib = peer_memory / (1024.0 * 1024.0);
  }
  print_row(row, options.json);
}

}  // namespace dagpam::launch

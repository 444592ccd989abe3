#include "launch/bench/bench_step.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include <chrono>
#include <memory>
#include <vector>

#include "configs/run_config.h"
#include "data/batch_source.h"
#include "launch/bench/peer.h"
#include "launch/bench/process_time.h"
#include "launch/bench/row.h"
#include "parallel/devices.h"
#include "trainer/parameter_counts.h"
#include "trainer/run_data.h"
#include "trainer/run_folder.h"
#include "trainer/run_plan.h"
#include "trainer/run_reporter.h"
#include "trainer/telemetry/console.h"
#include "trainer/training_step.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// What a run does beside its steps, every log.every of them.
class Logging {
 public:
  Logging(const trainer::RunPlan& plan, const std::string& folder, parallel::Communicator& world,
          const parallel::Grid& grid)
      : plan_(plan), folder_{folder}, reporter_(plan_, folder_, world, grid) {
    if (world.rank() == 0) folder_.create();
    reporter_.start_from(progress_);
  }

  void add(const at::Tensor& loss, trainer::TrainingStep& step) {
    progress_.tokens += plan_.tokens_per_step;
    reporter_.add_step(loss, ++progress_.step);
    if (progress_.step % plan_.config.log().every() == 0) reporter_.log(progress_, step);
  }

 private:
  trainer::RunPlan plan_;
  trainer::RunFolder folder_;
  trainer::Progress progress_;
  trainer::RunReporter reporter_;
};

class Stepper {
 public:
  Stepper(const trainer::RunPlan& plan, parallel::Communicator& world)
      : grid_(parallel::make_grid(world, plan.ranks / plan.copies)),
        step_(plan.config, grid_),
        batches_(trainer::open_training_data(plan, grid_.dp->rank())) {}

  // Milliseconds a step: on the CPU the median of `count`; on a GPU their mean, since there the
  // host runs ahead of the device, as in training, and a wait at each step would show what it
  // hides.
  double run(int64_t count) {
    const at::Device device = grid_.dp->device();
    std::vector<double> times;
    auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) {
      step(nullptr);
      if (!device.is_cpu()) continue;
      times.push_back(milliseconds_since(start));
      start = Clock::now();
    }
    if (device.is_cpu()) return median(times);
    parallel::wait_for_device(device);
    return milliseconds_since(start) / static_cast<double>(count);
  }

  // Mean milliseconds of `count` steps, with logging where it is given.
  double run_through(int64_t count, Logging* logging) {
    parallel::wait_for_device(grid_.dp->device());
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) step(logging);
    parallel::wait_for_device(grid_.dp->device());
    return milliseconds_since(start) / static_cast<double>(count);
  }

  const parallel::Grid& grid() const { return grid_; }

 private:
  void step(Logging* logging) {
    const at::Tensor loss =
        step_.compute_gradients(done_, [&]() -> const data::Batch& { return batches_->next(); });
    step_.update(done_++);
    if (logging != nullptr) logging->add(loss, step_);
  }

  parallel::Grid grid_;
  trainer::TrainingStep step_;
  std::unique_ptr<data::BatchSource> batches_;
  int64_t done_ = 0;
};

// Operations a second of one large square product of the step's type, in 1e12.
class Product {
 public:
  Product(const configs::RunConfig& config, at::Device device) : device_(device) {
    const int64_t n = device.is_cpu() ? 1024 : 8192;
    const bool narrow = config.train().precision() == configs::TrainConfig::BF16;
    const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
    a_ = at::randn({n, n}, options).to(narrow ? at::kBFloat16 : at::kFloat);
    b_ = at::randn({n, n}, options).to(a_.scalar_type());
    c_ = at::mm(a_, b_);
  }

  double tflops() {
    parallel::wait_for_device(device_);
    const auto start = Clock::now();
    at::mm_out(c_, a_, b_);
    parallel::wait_for_device(device_);
    const auto n = static_cast<double>(a_.size(0));
    return 2 * n * n * n / milliseconds_since(start) / 1e9;
  }

 private:
  at::Device device_;
  at::Tensor a_, b_, c_;
};

BenchRow row_of(const trainer::RunPlan& plan, const parallel::Communicator& world,
                const std::vector<double>& ours) {
  const auto& model = plan.config.model();
  BenchRow row;
  row.name = "step";
  row.shape = std::to_string(model.layers()) + " layers, width " + std::to_string(model.width()) +
              ", " + std::to_string(plan.config.train().global_batch()) + " x " +
              std::to_string(model.context());
  row.kernel = configs::AttentionConfig::Kind_Name(plan.config.attention().kind()) + " " +
               configs::TrainConfig::Precision_Name(plan.config.train().precision());
  row.ranks = world.size();
  row.ours_ms = median(ours);
  row.spread = spread(ours);
  row.per_second = static_cast<double>(plan.tokens_per_step) / row.ours_ms * 1e3;
  row.unit = "tokens";
  row.tflops = trainer::flops_per_token(plan.config) * row.per_second / 1e12;
  const bool on_cpu = world.device().is_cpu();
  row.device = on_cpu ? "cpu" : parallel::device_name(world.device());
  row.memory_mib = on_cpu ? 1024 * trainer::peak_memory_gib()
                          : parallel::peak_device_bytes(world.device()) / (1024.0 * 1024.0);
  return row;
}

// The second side of a comparison.
struct Other {
  std::unique_ptr<Stepper> stepper;
  std::unique_ptr<Logging> logging;
  std::unique_ptr<Peer> peer;
  double peer_memory = 0;  // bytes
  std::string name;
};

Other make_other(const StepBenchOptions& options, const trainer::RunPlan& plan,
                 parallel::Communicator& world, const Stepper& stepper) {
  Other other;
  if (!options.against.empty()) {
    configs::RunConfig config = options.config;
    for (const std::string& one : options.against) {
      configs::apply_override(config, one);
      other.name += (other.name.empty() ? "" : " ") + one;
    }
    other.stepper = std::make_unique<Stepper>(trainer::plan_run(config, world.size()), world);
    other.stepper->run(5);
  }
  if (!options.log_folder.empty()) {
    other.logging = std::make_unique<Logging>(plan, options.log_folder, world, stepper.grid());
    other.name = "without logging";
  }
  if (!options.peer.empty() && world.rank() == 0) {
    other.peer = std::make_unique<Peer>(options.peer);
    other.name = other.peer->name();
  }
  return other;
}

}  // namespace

void bench_step(const StepBenchOptions& options, parallel::Communicator& world) {
  const trainer::RunPlan plan = trainer::plan_run(options.config, world.size());
  Stepper stepper(plan, world);
  stepper.run(1);
  const double first_step_s = seconds_since_start();
  Other other = make_other(options, plan, world, stepper);
  Product product(plan.config, world.device());
  stepper.run(4);  // warms caches and allocator
  std::vector<double> ours, theirs, products;
  for (int64_t round = 0; round < options.rounds; ++round) {
    world.barrier();
    products.push_back(product.tflops());
    if (other.logging) {
      ours.push_back(stepper.run_through(options.steps, other.logging.get()));
      theirs.push_back(stepper.run_through(options.steps, nullptr));
      continue;
    }
    ours.push_back(stepper.run(options.steps));
    if (other.stepper) {
      world.barrier();
      theirs.push_back(other.stepper->run(options.steps));
    }
    if (!other.peer) continue;
    const PeerTiming timing = other.peer->run(options.steps);
    theirs.push_back(timing.step_ms);
    other.peer_memory = timing.peak_memory;
  }
  if (world.rank() != 0) return;
  BenchRow row = row_of(plan, world, ours);
  row.product_tflops = median(products);
  row.first_step_s = first_step_s;
  row.peer = other.name;
  if (!theirs.empty()) row.peer_ms = median(theirs);
  row.peer_memory_mib = other.peer_memory / (1024.0 * 1024.0);
  if (other.peer) row.peer_first_step_s = other.peer->first_step_s();
  print_row(row, options.json);
}

}  // namespace dagpam::launch

#include "launch/bench/bench_scaling.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "configs/errors.h"
#include "data/batch_source.h"
#include "launch/bench/row.h"
#include "parallel/grid.h"
#include "trainer/run_data.h"
#include "trainer/run_plan.h"
#include "trainer/training_step.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

// A model that is trained over `world`.
class Training {
 public:
  Training(const configs::RunConfig& config, parallel::Communicator& world)
      : plan_(trainer::plan_run(config, world.size())),
        grid_(parallel::make_grid(world, plan_.ranks / plan_.copies)),
        step_(plan_.config, grid_),
        batches_(trainer::open_training_data(plan_, grid_.dp->rank())) {}

  const trainer::RunPlan& plan() const { return plan_; }

  // Median milliseconds of `count` steps.
  double run(int64_t count) {
    std::vector<double> times;
    for (int64_t i = 0; i < count; ++i) {
      const auto start = Clock::now();
      step_.compute_gradients(done_, [&]() -> const data::Batch& { return batches_->next(); });
      step_.update(done_++);
      times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
    return median(times);
  }

 private:
  trainer::RunPlan plan_;
  parallel::Grid grid_;
  trainer::TrainingStep step_;
  std::unique_ptr<data::BatchSource> batches_;
  int64_t done_ = 0;
};

// One of those that take turns.
struct Side {
  const char* name;
  Training* training;
  bool only_first = false;   // rank 0
  int64_t groups = 1;        // that train at once
  std::vector<double> ms{};  // by round, of the slowest rank
};

configs::RunConfig share_of_one(const trainer::RunPlan& plan) {
  configs::RunConfig config = plan.config;
  config.mutable_train()->set_global_batch(plan.config.train().global_batch() / plan.copies);
  config.mutable_parallel()->set_tensor(1);
  config.mutable_parallel()->set_sequence_parallel(false);
  config.mutable_parallel()->set_zero(0);
  return config;
}

void run(Side& side, int64_t steps, parallel::Communicator& world) {
  world.barrier();
  const bool runs = world.rank() == 0 || !side.only_first;
  at::Tensor slowest = at::full({1}, runs ? side.training->run(steps) : 0.0, at::kDouble);
  world.all_reduce(slowest, parallel::ReduceOp::kMax);
  side.ms.push_back(slowest.item<double>());
}

void print(const Side& side, const Side& alone, const trainer::RunPlan& plan, bool json) {
  const double ms = median(side.ms), one = median(alone.ms);
  const auto tokens = [&](const Side& of, double time) {
    return static_cast<double>(of.training->plan().tokens_per_step * of.groups) / time * 1e3;
  };
  const double ranks = side.only_first ? 1 : plan.ranks;
  const double efficiency = tokens(side, ms) / (ranks * tokens(alone, one));
  if (json) {
    const nlohmann::ordered_json row{{"name", "scaling"},
                                     {"shape", side.name},
                                     {"device", "cpu"},
                                     {"ranks", ranks},
                                     {"ours_ms", ms},
                                     {"spread", spread(side.ms)},
                                     {"per_second", tokens(side, ms)},
                                     {"unit", "tokens"},
                                     {"efficiency", efficiency}};
    std::printf("%s\n", row.dump().c_str());
  } else {
    std::printf("%-24s %10.2f ms  (rounds within %.2f x) %12.0f tokens/s  efficiency %.3f\n",
                side.name, ms, spread(side.ms), tokens(side, ms), efficiency);
  }
  std::fflush(stdout);
}

}  // namespace

void bench_scaling(const ScalingBenchOptions& options, parallel::Communicator& world,
                   parallel::Communicator* plain) {
  if (world.size() < 2) {
    throw ConfigError(
        "bench scaling: one rank has nobody beside it: start with mpirun -n 2 or more");
  }
  if (!world.device().is_cpu()) {
    throw ConfigError("bench scaling: measures ranks on CPUs: choose parallel.backend MPI");
  }
  Training job(options.config, world);
  std::unique_ptr<Training> by_mpi;
  if (plain) by_mpi = std::make_unique<Training>(options.config, *plain);
  const auto self = parallel::make_self_communicator();
  Training one(share_of_one(job.plan()), *self);

  std::vector<Side> sides{{"job", &job}};
  if (by_mpi) sides.push_back({"job, collectives of MPI", by_mpi.get()});
  sides.push_back({"one rank alone", &one, true});
  sides.push_back({"each rank alone, at once", &one, false, world.size()});
  for (Side& side : sides) side.training->run(3);  // warms caches and allocator
  for (int64_t round = 0; round < options.rounds; ++round) {
    for (Side& side : sides) run(side, options.steps, world);
  }
  if (world.rank() != 0) return;
  const Side& alone = sides[sides.size() - 2];
  for (const Side& side : sides) print(side, alone, job.plan(), options.json);
}

}  // namespace dagpam::launch

// trainer/planning/prediction.h: what a run under one layout will take of a cluster: memory, bytes,
// seconds, and the whole run's hours and price.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "configs/cluster.pb.h"
#include "trainer/memory_plan.h"
#include "trainer/planning/collectives.h"
#include "trainer/planning/layout.h"
#include "trainer/planning/step_simulation.h"
#include "trainer/planning/work_time.h"

namespace dagpam::trainer::planning {

struct CollectiveTime {
  Calls calls;                  // of one row of the table: those of a kind together
  int64_t least = 0, most = 0;  // bytes of one
  int64_t total_bytes = 0;      // of a step
  double seconds = 0;           // of a step, were nothing hidden
};

struct Prediction {
  Layout layout;
  MemoryPlan memory;        // bytes of a rank
  double memory_limit = 0;  // bytes that tensors may have
  bool fits() const { return memory.total() <= memory_limit; }

  std::vector<CollectiveTime> collectives;
  WorkTime forward, backward;  // of a step
  WorkTime update;
  StepResult step;
  bool host_bound = false;  // a GPU waits for its host
  bool overlap = false;
  int64_t buckets = 0, micro_batches = 1;

  double tokens_per_second = 0;
  double flops_per_rank = 0;  // a second, by the formula of docs/performance.md
  double mfu = 0;             // of the peak; 0 where the cluster names none
};

// `plan` has the layout; its on_gpu is taken from the cluster. Throws ConfigError where the cluster
// lacks rates that the run needs.
Prediction predict(const RunPlan& plan, const configs::ClusterConfig& cluster);

// The whole of a run.
struct RunTotals {
  int64_t steps = 0, evaluations = 0, saves = 0;
  double training = 0, evaluation = 0, saving = 0;  // seconds
  bool evaluation_known = true;                     // false: tokens of the split are not known here
  bool saving_known = true;                         // false: the cluster names no storage
  double save_bytes = 0;                            // of one checkpoint
  double seconds() const { return training + evaluation + saving; }
  double rank_hours = 0;
  double price = 0;  // 0: the cluster names none
};
RunTotals totals_of(const RunPlan& plan, const Prediction& prediction,
                    const configs::ClusterConfig& cluster);

}  // namespace dagpam::trainer::planning

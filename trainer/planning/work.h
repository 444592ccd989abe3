// trainer/planning/work.h: what a rank computes in a step, operator by operator: sizes of products,
// operations of attention, bytes that the rest moves. docs/planning.md has the formulas.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/run_plan.h"

namespace dagpam::trainer::planning {

// Of a step's time, for tables.
enum class Part { kEmbedding, kNorms, kProjections, kAttention, kMlp, kLogits, kLoss, kUpdate };
inline constexpr int kParts = 8;
const char* name_of(Part part);

// Which rate of the cluster serves an operator.
enum class Rate { kProduct, kAttention, kMemory, kNorm, kActivation, kLoss, kUpdate };

struct Operator {
  Part part = Part::kProjections;
  Rate rate = Rate::kMemory;
  double m = 0, n = 0, k = 0;  // kProduct: m x k by k x n
  double operations = 0;       // kAttention: of one map, in the count of AttentionRates
  double maps = 1;             // kAttention: 1, 2 apart, or 1 and a second over the same keys
  bool backward = false;       // kAttention: which of its rates
  double bytes = 0;            // the others; of products what they read and write at least
  double times = 1;
  double operators = 1;  // that the host starts, each time
};

struct StageWork {
  std::vector<Operator> forward, backward;  // of a micro-batch
};

// Stages 0 .. L + 1 as in parameters.h. Backward has what recomputation makes again. `plan.config`
// is resolved and a DECODER's.
std::vector<StageWork> work_of_micro_batch(const RunPlan& plan);

// Norm, clipping and update, once a step.
std::vector<Operator> work_of_update(const RunPlan& plan);

}  // namespace dagpam::trainer::planning

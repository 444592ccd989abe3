// trainer/planning/parameters.h: the parameters that a rank holds, without making the model: what
// buckets of gradients are cut from. A test holds them against the model's own list.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/bucket_grouping.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer::planning {

struct PlannedParameter {
  int64_t rows = 1, inner = 1;  // of this rank: elements of its first dimension, and of a row
  parallel::GradientKind kind = parallel::GradientKind::kReplicated;
  int64_t stage = 0;  // that uses it: 0 embedding, 1 .. L blocks, L + 1 final norm and logits

  int64_t elements() const { return rows * inner; }
};

// In the order in which TransformerLm declares them. `plan.config` is resolved and a DECODER's.
std::vector<PlannedParameter> planned_parameters(const RunPlan& plan);

// What travels at once over the copies (parallel/gradient_buckets.h, sharded_gradients.h).
struct PlannedBucket {
  parallel::GradientKind kind = parallel::GradientKind::kReplicated;
  int64_t elements = 0;     // of all members
  int64_t segment = 0;      // of what one copy owns with ZeRO, padding included
  int64_t first_stage = 0;  // of its members: backward reaches it last, forward needs it first
};

// In the order in which they are reduced.
std::vector<PlannedBucket> planned_buckets(const RunPlan& plan);

}  // namespace dagpam::trainer::planning

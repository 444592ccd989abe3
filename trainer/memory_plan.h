// trainer/memory_plan.h: what a rank will hold, worked out before anything is allocated.
#pragma once

#include <cstdint>

#include "configs/run.pb.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer {

// Bytes of tensors a rank holds at the turn from forward to backward of a micro-batch, when most is
// held: docs/parallelism.md derives each.
struct MemoryPlan {
  double parameters = 0;  // weights, in train.precision
  double gradients = 0;   // flat buckets; with ZeRO the copy's own rows of gradients and values too
  double optimizer = 0;   // moments; of BF16 the masters too
  double masters = 0;     // of `optimizer`
  double activations = 0;  // saved for backward, and the logits with their gradient
  double at_the_turn = 0;  // of `activations`: logits and gradients under way, what is made again
  double snapshot = 0;  // in host memory: what a save under way is written from; not in the total
  double total() const { return parameters + gradients + optimizer + activations; }
};
MemoryPlan plan_memory(const RunPlan& plan);

}  // namespace dagpam::trainer

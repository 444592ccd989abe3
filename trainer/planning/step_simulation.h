// trainer/planning/step_simulation.h: a step of one rank, event by event: who waits for what.
//
// All ranks do alike, so one stands for all. Computing goes from stage to stage; what
// tensor-parallel ranks say to each other stands in its way. Reductions of buckets go over the
// data-parallel links one after the other, each once the last micro-batch's backward has reached
// its first stage (or, without overlap, all after it); values that ZeRO gathers go the same way,
// last bucket first, and a stage of the first forward waits for its own.
#pragma once

#include <cstdint>
#include <vector>

namespace dagpam::trainer::planning {

// Seconds of a stage in a micro-batch.
struct StageSeconds {
  double forward = 0, backward = 0;            // computing
  double forward_talk = 0, backward_talk = 0;  // tensor-parallel collectives
};

struct BucketSeconds {
  int64_t first_stage = 0;  // of its parameters: backward reaches it last, forward needs it first
  double reduce = 0, gather = 0;
};

struct StepTimeline {
  std::vector<StageSeconds> stages;
  std::vector<BucketSeconds> buckets;  // in the order of their reductions
  int64_t micro_batches = 1;
  double closing_talk = 0;  // norm and partial gradients
  double update = 0;
  bool overlap = true;
  double overlap_loss = 0;  // of the data-parallel links: see LinkRates
};

struct StepResult {
  double total = 0;          // seconds, the sum of all below but hidden ones
  double compute = 0;        // forward and backward
  double tensor_talk = 0;    // collectives within a copy
  double waited_gather = 0;  // of values, by the first forward
  double waited_reduce = 0;  // of gradients, after the last backward
  double hidden = 0;         // data-parallel collectives beside computing
  double slowed = 0;         // computing by what is hidden
  double closing = 0;        // norm and partial gradients
  double update = 0;
};

StepResult simulate(const StepTimeline& timeline);

}  // namespace dagpam::trainer::planning

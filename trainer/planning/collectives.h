// trainer/planning/collectives.h: the calls that a rank makes in a step, one by one, as
// docs/parallelism.md counts them. A test holds calls and bytes against what the program counts.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/planning/parameters.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer::planning {

enum class Group { kDataParallel, kTensorParallel };
enum class Collective { kAllReduce, kReduceScatter, kAllGather };
const char* name_of(Collective collective);
const char* name_of(Group group);

// Calls alike of one kind.
struct Calls {
  Group group = Group::kDataParallel;
  Collective collective = Collective::kAllReduce;
  const char* what = "";  // for tables
  int64_t count = 0;      // a step
  int64_t bytes = 0;      // of one: of its larger side
  bool bucket = false;    // of gradients: memory that ranks of a node may share
};

// What crosses the borders of the cut layers in a micro-batch (parallel/tp_regions.h), by stage: a
// block's, the embedding's and that before the logits. Of full recomputation a block's forward
// calls come once more.
struct Doors {
  int64_t forward = 0, backward = 0;  // entries or exits that talk
};
Doors embedding_doors();
Doors block_doors();
Doors head_doors();

int64_t micro_batches(const RunPlan& plan);  // a rank and step

// The two calls of the loss of a micro-batch, forward.
std::vector<Calls> loss_calls(const RunPlan& plan);

// The call at a door: without sequence parallelism the all-reduce of its one direction that talks;
// with it the gathering of one direction, or the reduction of the other.
Calls door_call(const RunPlan& plan, bool gathers);

// One for each bucket, in order: its reduction, and with ZeRO the gathering of its values.
Calls reduction_of(const RunPlan& plan, const PlannedBucket& bucket);
Calls gathering_of(const RunPlan& plan, const PlannedBucket& bucket);

// After the last reduction: partial gradients and the norm.
std::vector<Calls> closing_calls(const RunPlan& plan, const std::vector<PlannedBucket>& buckets);

// All of a step.
std::vector<Calls> calls_of_step(const RunPlan& plan);

}  // namespace dagpam::trainer::planning

#include "trainer/planning/collectives.h"

namespace dagpam::trainer::planning {

using configs::TrainConfig;

namespace {

constexpr int64_t kFloat = 4;  // sums and gradients travel in float32

int tp_of(const RunPlan& plan) { return plan.ranks / plan.copies; }

int64_t number_bytes(const RunPlan& plan) {
  return plan.config.train().precision() == TrainConfig::BF16 ? 2 : kFloat;
}

bool by_tokens(const RunPlan& plan) {
  return plan.config.parallel().sequence_parallel() && tp_of(plan) > 1;
}

Calls calls(Group group, Collective collective, const char* what, int64_t count, int64_t bytes,
            bool bucket = false) {
  return {group, collective, what, count, bytes, bucket};
}

// Doors of a micro-batch, forward and backward, of the whole model.
int64_t doors(const RunPlan& plan) {
  const Doors embedding = embedding_doors(), block = block_doors(), head = head_doors();
  const bool again = plan.config.train().recompute() == TrainConfig::FULL;
  return embedding.forward + embedding.backward + head.forward + head.backward +
         plan.config.model().layers() * ((again ? 2 : 1) * block.forward + block.backward);
}

}  // namespace

const char* name_of(Collective collective) {
  switch (collective) {
    case Collective::kAllReduce:
      return "all-reduce";
    case Collective::kReduceScatter:
      return "reduce-scatter";
    case Collective::kAllGather:
      return "all-gather";
  }
  return "";
}

const char* name_of(Group group) { return group == Group::kDataParallel ? "dp" : "tp"; }

// Forward where a sum leaves, backward where a copy entered; the other directions are free without
// sequence parallelism.
Doors embedding_doors() { return {1, 0}; }
Doors block_doors() { return {2, 2}; }
Doors head_doors() { return {0, 1}; }

int64_t micro_batches(const RunPlan& plan) {
  const TrainConfig& train = plan.config.train();
  return train.global_batch() / (plan.copies * train.micro_batch());
}

Calls door_call(const RunPlan& plan, bool gathers) {
  const int64_t numbers = micro_batch_tokens(plan) * plan.config.model().width();
  if (!by_tokens(plan)) {
    return calls(Group::kTensorParallel, Collective::kAllReduce, "sums of cut layers", 1,
                 kFloat * numbers);
  }
  if (gathers) {
    return calls(Group::kTensorParallel, Collective::kAllGather, "tokens into cut layers", 1,
                 number_bytes(plan) * numbers);
  }
  return calls(Group::kTensorParallel, Collective::kReduceScatter, "tokens out of cut layers", 1,
               kFloat * numbers);
}

std::vector<Calls> loss_calls(const RunPlan& plan) {
  if (tp_of(plan) == 1) return {};
  const int64_t tokens = micro_batch_tokens(plan);
  const int64_t terms = plan.config.train().label_smoothing() > 0 ? 3 : 2;
  return {
      calls(Group::kTensorParallel, Collective::kAllReduce, "largest logits", 1, kFloat * tokens),
      calls(Group::kTensorParallel, Collective::kAllReduce, "sums of exponentials", 1,
            terms * kFloat * tokens)};
}

Calls reduction_of(const RunPlan& plan, const PlannedBucket& bucket) {
  if (plan.config.parallel().zero() == 1) {
    return calls(Group::kDataParallel, Collective::kReduceScatter, "gradients", 1,
                 kFloat * plan.copies * bucket.segment);
  }
  return calls(Group::kDataParallel, Collective::kAllReduce, "gradients", plan.copies > 1 ? 1 : 0,
               kFloat * bucket.elements, true);
}

Calls gathering_of(const RunPlan& plan, const PlannedBucket& bucket) {
  const int64_t count = plan.config.parallel().zero() == 1 ? 1 : 0;
  return calls(Group::kDataParallel, Collective::kAllGather, "weights", count,
               number_bytes(plan) * plan.copies * bucket.segment);
}

std::vector<Calls> closing_calls(const RunPlan& plan, const std::vector<PlannedBucket>& buckets) {
  const bool zero = plan.config.parallel().zero() == 1, tensor = tp_of(plan) > 1;
  std::vector<Calls> all;
  bool any_cut = false;
  for (const PlannedBucket& bucket : buckets) {
    any_cut = any_cut || bucket.kind == parallel::GradientKind::kCut;
    if (bucket.kind != parallel::GradientKind::kPartial || !tensor) continue;
    all.push_back(calls(Group::kTensorParallel, Collective::kAllReduce, "partial gradients", 1,
                        kFloat * (zero ? bucket.segment : bucket.elements)));
  }
  if (zero) {
    all.push_back(calls(Group::kDataParallel, Collective::kAllReduce, "norm", 1, 2 * kFloat));
  }
  if (tensor && (zero || any_cut)) {
    all.push_back(calls(Group::kTensorParallel, Collective::kAllReduce, "norm", 1, kFloat));
  }
  return all;
}

std::vector<Calls> calls_of_step(const RunPlan& plan) {
  const std::vector<PlannedBucket> buckets = planned_buckets(plan);
  const int64_t batches = micro_batches(plan);
  std::vector<Calls> all;
  const auto add = [&](Calls one, int64_t times) {
    one.count *= times;
    if (one.count > 0) all.push_back(one);
  };
  for (const PlannedBucket& bucket : buckets) add(reduction_of(plan, bucket), 1);
  for (const PlannedBucket& bucket : buckets) add(gathering_of(plan, bucket), 1);
  if (tp_of(plan) > 1) {
    add(door_call(plan, false), batches * doors(plan));
    if (by_tokens(plan)) add(door_call(plan, true), batches * doors(plan));
    for (const Calls& one : loss_calls(plan)) add(one, batches);
  }
  for (const Calls& one : closing_calls(plan, buckets)) add(one, 1);
  return all;
}

}  // namespace dagpam::trainer::planning

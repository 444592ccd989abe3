#include "trainer/planning/step_simulation.h"

#include <algorithm>

namespace dagpam::trainer::planning {

namespace {

// When each bucket's values are there, counted from the end of the last update.
std::vector<double> gathered_at(const StepTimeline& t) {
  std::vector<double> at(t.buckets.size());
  double now = 0;
  for (size_t i = t.buckets.size(); i-- > 0;) at[i] = now += t.buckets[i].gather;
  return at;
}

// The first forward, from 0: its end; adds what it waited.
double first_forward(const StepTimeline& t, double& waited) {
  std::vector<double> needed(t.stages.size());
  const std::vector<double> at = gathered_at(t);
  for (size_t i = 0; i < t.buckets.size(); ++i) {
    double& first = needed[static_cast<size_t>(t.buckets[i].first_stage)];
    first = std::max(first, at[i]);
  }
  double now = 0;
  for (size_t stage = 0; stage < t.stages.size(); ++stage) {
    const double start = std::max(now, needed[stage]);
    waited += start - now;
    now = start + t.stages[stage].forward + t.stages[stage].forward_talk;
  }
  return now;
}

// The last backward from 0, with the reductions beside it: when the last of them ends; `end` is
// backward's own.
double reduced_at(const StepTimeline& t, double& end) {
  std::vector<double> reached(t.stages.size());
  double now = 0;
  for (size_t stage = t.stages.size(); stage-- > 0;) {
    now += t.stages[stage].backward + t.stages[stage].backward_talk;
    reached[stage] = now;
  }
  end = now;
  double free = 0;  // the links
  for (const BucketSeconds& bucket : t.buckets) {
    const double ready = t.overlap ? reached[static_cast<size_t>(bucket.first_stage)] : end;
    free = std::max(free, ready) + bucket.reduce;
  }
  return std::max(free, end);
}

}  // namespace

StepResult simulate(const StepTimeline& t) {
  StepResult result;
  const auto batches = static_cast<double>(t.micro_batches);
  for (const StageSeconds& stage : t.stages) {
    result.compute += batches * (stage.forward + stage.backward);
    result.tensor_talk += batches * (stage.forward_talk + stage.backward_talk);
  }
  double reduce = 0, gather = 0;
  for (const BucketSeconds& bucket : t.buckets) {
    reduce += bucket.reduce;
    gather += bucket.gather;
  }
  if (t.overlap) {
    first_forward(t, result.waited_gather);
  } else {
    result.waited_gather = gather;
  }
  double end = 0;
  const double reduced = reduced_at(t, end);
  result.waited_reduce = reduced - end;
  // A gap between two reductions hides nothing: only what was under way counts.
  result.hidden =
      std::max(0.0, reduce - result.waited_reduce) + std::max(0.0, gather - result.waited_gather);
  result.slowed = t.overlap_loss * result.hidden;
  result.closing = t.closing_talk;
  result.update = t.update;
  result.total = result.compute + result.tensor_talk + result.waited_gather + result.waited_reduce +
                 result.slowed + result.closing + result.update;
  return result;
}

}  // namespace dagpam::trainer::planning

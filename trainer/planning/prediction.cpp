#include "trainer/planning/prediction.h"

#include <algorithm>

#include "trainer/parameter_counts.h"
#include "trainer/planning/link_time.h"

namespace dagpam::trainer::planning {

using configs::ClusterConfig;

namespace {

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;

// Prices calls of both groups of a layout.
class Pricer {
 public:
  Pricer(const Layout& layout, const ClusterConfig& cluster)
      : cluster_(cluster),
        dp_(placement_of(Group::kDataParallel, layout.ranks, layout.tp,
                         static_cast<int>(cluster.ranks_per_node()))),
        tp_(placement_of(Group::kTensorParallel, layout.ranks, layout.tp,
                         static_cast<int>(cluster.ranks_per_node()))) {}

  double operator()(const Calls& calls) const {
    const Placement& at = calls.group == Group::kDataParallel ? dp_ : tp_;
    return static_cast<double>(calls.count) * seconds_of(calls, at, cluster_);
  }
  bool copies_cross_nodes() const { return dp_.nodes() > 1; }

 private:
  const ClusterConfig& cluster_;
  Placement dp_, tp_;
};

// Rows that are of one kind become one.
std::vector<CollectiveTime> table_of(const RunPlan& plan, const Pricer& price) {
  std::vector<CollectiveTime> rows;
  for (const Calls& calls : calls_of_step(plan)) {
    auto row = std::find_if(rows.begin(), rows.end(), [&](const CollectiveTime& r) {
      return r.calls.group == calls.group && r.calls.collective == calls.collective &&
             std::string_view(r.calls.what) == calls.what;
    });
    if (row == rows.end()) {
      rows.push_back({calls, calls.bytes, calls.bytes, 0, 0});
      row = std::prev(rows.end());
      row->calls.count = 0;
    }
    row->calls.count += calls.count;
    row->least = std::min(row->least, calls.bytes);
    row->most = std::max(row->most, calls.bytes);
    row->total_bytes += calls.count * calls.bytes;
    row->seconds += price(calls);
  }
  return rows;
}

// Seconds of a stage's calls in a micro-batch.
void add_talk(const RunPlan& plan, const Pricer& price, StepTimeline& timeline) {
  if (plan.ranks == plan.copies) return;
  const bool tokens = plan.config.parallel().sequence_parallel();
  // Without sequence parallelism one direction of each door is free; with it one gathers, the
  // other reduces and scatters.
  const double out = price(door_call(plan, false)), in = tokens ? price(door_call(plan, true)) : 0;
  const bool again = plan.config.train().recompute() == configs::TrainConfig::FULL;
  const size_t last = timeline.stages.size() - 1;
  for (size_t i = 0; i <= last; ++i) {
    const Doors doors = i == 0 ? embedding_doors() : i == last ? head_doors() : block_doors();
    const auto forward = static_cast<double>(doors.forward),
               backward = static_cast<double>(doors.backward);
    StageSeconds& stage = timeline.stages[i];
    stage.forward_talk = forward * out + backward * in;
    stage.backward_talk = backward * out + forward * in;
    if (again && i > 0 && i < last) stage.backward_talk += stage.forward_talk;
  }
  for (const Calls& calls : loss_calls(plan)) timeline.stages[last].forward_talk += price(calls);
}

}  // namespace

Prediction predict(const RunPlan& given, const ClusterConfig& cluster) {
  RunPlan plan = given;
  plan.on_gpu = cluster.gpus();
  const configs::RunConfig& run = plan.config;
  Prediction p;
  p.layout = layout_of(plan);
  p.memory = plan_memory(plan);
  p.memory_limit = kGib * (cluster.memory_gib() - cluster.reserve_gib());
  p.micro_batches = micro_batches(plan);
  p.overlap = run.parallel().has_overlap() ? run.parallel().overlap() : cluster.gpus();

  const Pricer price(p.layout, cluster);
  const WorkTimer timer(cluster, run);
  StepTimeline timeline;
  timeline.micro_batches = p.micro_batches;
  timeline.overlap = p.overlap;
  timeline.overlap_loss = price.copies_cross_nodes() ? cluster.network().overlap_loss()
                                                     : cluster.node_link().overlap_loss();
  const auto times = static_cast<double>(p.micro_batches);
  for (const StageWork& stage : work_of_micro_batch(plan)) {
    const WorkTime forward = timer.time_of(stage.forward), backward = timer.time_of(stage.backward);
    timeline.stages.push_back({forward.seconds(cluster.gpus()), backward.seconds(cluster.gpus())});
    p.forward += forward * times;
    p.backward += backward * times;
  }
  p.update = timer.time_of(work_of_update(plan));
  timeline.update = p.update.seconds(cluster.gpus());
  p.host_bound = cluster.gpus() && p.forward.host + p.backward.host + p.update.host >
                                       p.forward.device + p.backward.device + p.update.device;
  add_talk(plan, price, timeline);
  const std::vector<PlannedBucket> buckets = planned_buckets(plan);
  p.buckets = static_cast<int64_t>(buckets.size());
  for (const PlannedBucket& bucket : buckets) {
    timeline.buckets.push_back(
        {bucket.first_stage, price(reduction_of(plan, bucket)), price(gathering_of(plan, bucket))});
  }
  for (const Calls& calls : closing_calls(plan, buckets)) timeline.closing_talk += price(calls);
  p.collectives = table_of(plan, price);
  p.step = simulate(timeline);

  const auto tokens = static_cast<double>(plan.tokens_per_step);
  p.tokens_per_second = tokens / p.step.total;
  p.flops_per_rank = flops_per_token(run) * p.tokens_per_second / plan.ranks;
  const configs::MatmulRates& rates = product_rates(cluster, run.train());
  if (rates.has_peak_tflops()) p.mfu = p.flops_per_rank / (1e12 * rates.peak_tflops());
  return p;
}

}  // namespace dagpam::trainer::planning

// The whole of a run: steps, evaluations, saves.
#include <algorithm>
#include <cmath>

#include "trainer/parameter_counts.h"
#include "trainer/planning/prediction.h"

namespace dagpam::trainer::planning {

using configs::ClusterConfig;

namespace {

constexpr double kGb = 1e9, kHour = 3600, kFloat = 4;

// Times that something is done every `every` steps, and at the end of the run.
int64_t times(int64_t every, int64_t steps) { return (every > 0 ? (steps - 1) / every : 0) + 1; }

// A copy's share of the windows of a split, in whole micro-batches.
double micro_batches_of(const RunPlan& plan, int64_t tokens) {
  const configs::TrainConfig& train = plan.config.train();
  const auto windows =
      static_cast<double>(tokens) / static_cast<double>(plan.config.model().context());
  const double all = std::ceil(windows / static_cast<double>(plan.copies * train.micro_batch()));
  return train.eval_batches() > 0 ? std::min(all, static_cast<double>(train.eval_batches())) : all;
}

void add_evaluations(const RunPlan& plan, const Prediction& p, RunTotals& totals) {
  const configs::RunConfig& run = plan.config;
  // Forward and what is said in it, of one micro-batch; ZeRO's gathers are waited for.
  const double talk = p.step.tensor_talk / 2;
  const double one =
      (p.forward.device + p.forward.host + talk) / static_cast<double>(p.micro_batches);
  const auto add = [&](bool there, int64_t tokens, int64_t count) {
    if (!there) return;
    totals.evaluations += count;
    if (tokens < 0 && run.train().eval_batches() == 0) {
      totals.evaluation_known = false;
      return;
    }
    const double batches = tokens < 0 ? static_cast<double>(run.train().eval_batches())
                                      : micro_batches_of(plan, tokens);
    totals.evaluation += static_cast<double>(count) * batches * one;
  };
  add(!run.data().valid().empty(), plan.data.valid_tokens,
      times(run.train().eval_every(), plan.steps));
  add(!run.data().test().empty(), plan.data.test_tokens, 1);
}

void add_saves(const RunPlan& plan, const Prediction& p, const ClusterConfig& cluster,
               RunTotals& totals) {
  const configs::RunConfig& run = plan.config;
  const double moments = optimizer_moments(run.optimizer());
  totals.saves = times(run.checkpoint().every(), plan.steps);
  totals.save_bytes = kFloat * (1 + moments) * static_cast<double>(count_parameters(run).all);
  totals.saving_known = cluster.has_storage();
  if (!totals.saving_known) return;
  const double write = totals.save_bytes / (kGb * cluster.storage().write_gbs());
  const double copy = totals.save_bytes / plan.ranks / (kGb * cluster.storage().host_copy_gbs());
  if (!run.checkpoint().asynchronous()) {
    totals.saving = static_cast<double>(totals.saves) * write;
    return;
  }
  // The next save waits for the last one; the run's end for its own.
  const double between = static_cast<double>(run.checkpoint().every()) * p.step.total;
  const double waits = run.checkpoint().every() > 0 ? std::max(0.0, write - between) : 0;
  totals.saving = static_cast<double>(totals.saves) * copy +
                  static_cast<double>(totals.saves - 1) * waits + write;
}

}  // namespace

RunTotals totals_of(const RunPlan& plan, const Prediction& p, const ClusterConfig& cluster) {
  RunTotals totals;
  totals.steps = plan.steps;
  totals.training = static_cast<double>(plan.steps) * p.step.total;
  add_evaluations(plan, p, totals);
  add_saves(plan, p, cluster, totals);
  totals.rank_hours = totals.seconds() * plan.ranks / kHour;
  totals.price = totals.rank_hours * cluster.price_per_rank_hour();
  return totals;
}

}  // namespace dagpam::trainer::planning

#include "trainer/planning/layout.h"

namespace dagpam::trainer::planning {

using configs::TrainConfig;

Layout layout_of(const RunPlan& plan) {
  const auto& parallel = plan.config.parallel();
  Layout layout;
  layout.ranks = plan.ranks;
  layout.tp = plan.ranks / plan.copies;
  layout.micro_batch = plan.config.train().micro_batch();
  layout.recompute = plan.config.train().recompute();
  layout.zero = static_cast<int>(parallel.zero());
  layout.sequence_parallel = parallel.sequence_parallel() && layout.tp > 1;
  return layout;
}

RunPlan with_layout(const RunPlan& plan, const Layout& layout) {
  RunPlan other = plan;
  other.ranks = layout.ranks;
  other.copies = layout.dp();
  configs::ParallelConfig& parallel = *other.config.mutable_parallel();
  parallel.set_tensor(layout.tp);
  parallel.set_zero(layout.zero);
  parallel.set_sequence_parallel(layout.sequence_parallel);
  TrainConfig& train = *other.config.mutable_train();
  train.set_micro_batch(layout.micro_batch);
  train.set_recompute(layout.recompute);
  return other;
}

std::string describe(const Layout& layout) {
  std::string text = "dp " + std::to_string(layout.dp()) + " x tp " + std::to_string(layout.tp);
  if (layout.sequence_parallel) text += " sp";
  if (layout.zero == 1) text += ", zero";
  text += ", micro-batch " + std::to_string(layout.micro_batch);
  if (layout.recompute != TrainConfig::NONE) {
    text += ", recompute " + TrainConfig::Recompute_Name(layout.recompute);
  }
  return text;
}

std::string as_overrides(const Layout& layout) {
  return "--set parallel.tensor=" + std::to_string(layout.tp) +
         " --set parallel.sequence_parallel=" + (layout.sequence_parallel ? "true" : "false") +
         " --set parallel.zero=" + std::to_string(layout.zero) +
         " --set train.micro_batch=" + std::to_string(layout.micro_batch) +
         " --set train.recompute=" + TrainConfig::Recompute_Name(layout.recompute);
}

}  // namespace dagpam::trainer::planning

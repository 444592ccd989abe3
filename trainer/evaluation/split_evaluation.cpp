#include "trainer/evaluation/split_evaluation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include "data/pair_batches.h"
#include "trainer/evaluation/totals.h"
#include "trainer/run_data.h"
#include "trainer/step_inputs.h"

namespace dagpam::trainer {

Evaluation evaluate_pairs(const Model& model, data::PairEvaluation& pairs,
                          parallel::Communicator& group, const std::function<bool()>& give_up,
                          bool progress) {
  const at::NoGradGuard no_grad;
  at::Tensor nll = at::zeros({}, at::TensorOptions(at::kDouble).device(group.device()));
  int64_t tokens = 0, done = 0;
  data::PairBatch rows;
  data::Batch batch;
  while (pairs.next(rows)) {
    data::to_batch(rows, pairs.dataset().special(), batch);
    const MicroBatch on_device = to_tensors(batch, group.device());
    nll.add_(model.losses(on_device.input, on_device.targets).sum(at::kDouble));
    for (int64_t row = 0; row < rows.rows; ++row) {
      tokens += rows.target_lengths[static_cast<size_t>(row)];
    }
    if (give_up && give_up()) return {.given_up = true};
    ++done;
    if (progress) show_evaluated(done, pairs.batches());
  }
  return mean_over_ranks(nll, tokens, group);
}

Evaluation evaluate_split(const RunPlan& plan, const Model& model, const std::string& prefix,
                          const std::string& split, parallel::Communicator& group,
                          const std::function<bool()>& give_up, bool progress) {
  if (reads_pairs(plan.config)) {
    data::PairOptions options = pair_options(plan, group.rank());
    options.prefix = prefix;
    data::PairEvaluation pairs(options, split);
    return evaluate_pairs(model, pairs, group, give_up, progress);
  }
  const auto dataset = data::open_dataset(data::split_path(prefix, split));
  EvaluationOptions options;
  options.context = options.stride = plan.config.model().context();
  options.batch = plan.config.train().micro_batch();
  options.max_batches = split == "valid" ? plan.config.train().eval_batches() : 0;
  options.reset_positions = plan.config.data().reset_positions();
  options.reset_attention = plan.config.data().reset_attention();
  options.progress = progress;
  options.give_up = give_up;
  return evaluate(model, *dataset, options, group);
}

}  // namespace dagpam::trainer

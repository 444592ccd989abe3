// trainer/training_step.h: model, gradients and optimizer of one rank, and one optimizer step over
// them.
//
// The loop (trainer.h), `dagpam check` and `dagpam bench step` all run this.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "configs/run.pb.h"
#include "data/batch_source.h"
#include "parallel/gradient_reducer.h"
#include "parallel/grid.h"
#include "trainer/model/model.h"
#include "trainer/optim/optimizer.h"
#include "trainer/optim/schedule.h"
#include "trainer/step_graph.h"
#include "trainer/step_guard.h"
#include "trainer/step_inputs.h"

namespace dagpam::trainer {

class TrainingStep {
 public:
  // `config` is resolved (run_plan.h). The grid must outlive this; all its ranks make one together
  // and call together. Parameters are initialised from train.seed, by the CPU, and live with all
  // else on the grid's device. Nothing here waits for the device.
  //
  // With parallel.cuda_graph, one rank and a device that has graphs, gradients are computed by one
  // from the step on that follows kWarmUps of this object. `graph`: in place of the device's own.
  TrainingStep(const configs::RunConfig& config, const parallel::Grid& grid,
               std::unique_ptr<StepGraph> graph = nullptr);
  static constexpr int kWarmUps = 3;

  // Computes the gradients of step `step` (counted from 0): takes micro-batches from `next`, one
  // for each accumulation. Afterwards every .grad is the gradient of the mean loss a token of the
  // global batch (with parallel.zero 1: of this rank's rows). All ranks call. Returns this copy's
  // share of that mean loss: a float32 scalar, not yet summed over the data-parallel group.
  at::Tensor compute_gradients(int64_t step, const std::function<const data::Batch&()>& next);

  // Clips and updates. Leaves parameters (of BF16 their masters) and the optimizer's state
  // unchanged where the step is bad (step_guard.h), and counts that.
  void update(int64_t step);

  // After parameters (of BF16 their masters: gradients().slices()) were read from elsewhere, as
  // they stood after `steps` optimizer steps: the model's weights follow. All ranks call.
  void parameters_loaded(int64_t steps);

  const configs::RunConfig& config() const { return config_; }
  // With parallel.zero 1 updated weights may be on their way: the forward pass of compute_gradients
  // waits for each where it is used first, model() for all.
  Model& model() {
    wait_for_parameters();
    return *model_;
  }
  void wait_for_parameters() { gradients_->wait_for_parameters(); }
  // Whether gradients are reduced while backward runs (parallel.overlap).
  bool overlaps() const { return overlap_; }
  bool has_graph() const { return graph_ != nullptr; }
  const parallel::GradientReducer& gradients() const { return *gradients_; }
  Optimizer& optimizer() { return *optimizer_; }
  double rate(int64_t step) const { return schedule_.rate(step); }
  const at::Tensor& gradient_norm() const { return norm_; }  // of the last step, before clipping
  int tensor_ranks() const { return tensor_ranks_; }         // that share one copy of the model
  StepGuard& guard() { return guard_; }
  int64_t micro_batches() const { return micro_batches_; }  // a rank and step; 0: it differs
  // Targets of the last step that counted, over all ranks.
  int64_t step_tokens() const { return step_tokens_; }

 private:
  // Scalars on the device.
  struct Outcome {
    at::Tensor loss, norm;
  };
  Outcome accumulate(const DropoutStep& dropout,
                     const std::function<MicroBatch(size_t)>& micro_batch);
  void accumulate_by_graph(int64_t step, const std::function<const data::Batch&()>& next);
  parallel::Rounding rounding_after(int64_t step) const;

  configs::RunConfig config_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<parallel::GradientReducer> gradients_;
  std::unique_ptr<Optimizer> optimizer_;
  Schedule schedule_;
  int64_t micro_batches_;
  int64_t step_tokens_ = 0;
  int tensor_ranks_;
  at::Device device_;
  bool overlap_;
  StepGuard guard_;
  at::Tensor loss_, norm_, one_;
  std::unique_ptr<StepGraph> graph_;  // none: every step is started operator by operator
  int64_t steps_with_graph_ = 0;
  StepInputs inputs_;  // that it reads
  Outcome outcome_;    // that it writes
};

}  // namespace dagpam::trainer

// trainer/layout_comparison.h: one rank's part of comparing a layout with a single rank, and what
// all ranks' parts come to. See layout_check.h for what is allowed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/parameter.h"
#include "trainer/layout_check.h"
#include "trainer/training_step.h"
#include "trainer/update_bound.h"

namespace dagpam::trainer {

class LayoutComparison {
 public:
  // `own` is this rank of the layout. Reads from `reference`, on rank 0 the single rank, elsewhere
  // nothing; all ranks of `group` call everything here together. Both must outlive this.
  // `config` is resolved (run_plan.h).
  LayoutComparison(const configs::RunConfig& config, TrainingStep& own, TrainingStep* reference,
                   parallel::Communicator& group);

  void initial_parameters();
  void losses(int64_t step, double reference, double layout);  // the reference's counts on rank 0

  // Each trained on its own so far.
  void gradients(int64_t step);

  // The layout's gradients with those of the reference at the layout's weights. Between the two
  // calls the reference has the layout's weights, and its gradients are computed; afterwards it has
  // its own weights again.
  void lend_weights();
  void gradients_at_lent_weights(int64_t step);

  void parameters(int64_t step);  // after the update that follows gradients(step)

  // The worst of all ranks, on every rank.
  LayoutResult result() const;

 private:
  // What may differ, relative: see layout_check.h.
  struct Tolerances {
    double first_loss, loss_at_50;
    double same_weights, drifted;  // gradients
    double weight;                 // rounding of a weight whose master is compared through it
  };
  static Tolerances tolerances_of(configs::TrainConfig::Precision precision);

  // A difference that left its bound, in the order in which it is looked at.
  struct Finding {
    int64_t order = 0;
    std::string words;
  };

  at::Tensor reference_part(const at::Tensor& whole_on_rank_0, size_t index) const;
  at::Tensor reference_gradient(size_t index) const;  // undefined but for rank 0
  at::Tensor own_part(const at::Tensor& held, size_t index) const;
  at::Tensor whole_of_layout(size_t index) const;
  at::Tensor second_moment(size_t index) const;
  double gradient_difference(size_t index, const at::Tensor& expected) const;
  double scale(size_t index, double top) const;
  void compare_gradients(int64_t step, double allowed, const char* kind);
  std::string place(size_t index) const;
  void note(Difference& worst, const char* kind, int64_t step, const std::string& where,
            double difference, double allowed);

  Tolerances allowed_;
  configs::OptimizerConfig optimizer_;
  TrainingStep& own_step_;
  TrainingStep* reference_step_;
  const std::vector<parallel::ParameterPtr>& own_;
  const std::vector<parallel::ParameterPtr>* reference_;
  std::map<const parallel::Parameter*, parallel::ParameterSlice> slices_;            // this rank's
  std::map<const parallel::Parameter*, parallel::ParameterSlice> reference_slices_;  // whole
  parallel::Communicator& group_;
  std::map<const parallel::Parameter*, at::Tensor> second_;  // the reference's, ADAMW
  std::vector<at::Tensor> lent_from_;                        // the reference's own weights
  std::vector<bool> silent_;                                 // no gradient seen so far
  std::vector<double> largest_;                              // gradient entry so far
  std::vector<UpdateBound> bounds_;                          // of this rank's parts
  at::Tensor differences_;  // float64 [parameters]: of the last gradients as they are clipped
  Difference loss_, gradient_, parameter_;
  Finding first_{INT64_MAX, ""};
  int64_t looked_at_ = 0;
};

}  // namespace dagpam::trainer

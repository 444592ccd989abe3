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

namespace dagpam::trainer {

class LayoutComparison {
 public:
  // `own` is this rank of the layout. Reads from `reference`, on rank 0 the single rank, elsewhere
  // nothing; all ranks of `group` call everything here together.
  LayoutComparison(TrainingStep& own, TrainingStep* reference, parallel::Communicator& group);

  void initial_parameters();
  void losses(int64_t step, double reference, double layout);  // the reference's counts on rank 0
  void gradients(int64_t step);
  void parameters(int64_t step);

  // The worst of all ranks, on every rank.
  LayoutResult result() const;

 private:
  // A difference that left its bound, in the order in which it is looked at.
  struct Finding {
    int64_t order = 0;
    std::string words;
  };

  at::Tensor reference_part(const at::Tensor& whole_on_rank_0, size_t index) const;
  at::Tensor reference_gradient(size_t index) const;  // undefined but for rank 0
  at::Tensor own_part(const at::Tensor& held, size_t index) const;
  double gradient_difference(size_t index, const at::Tensor& expected) const;
  std::string place(size_t index) const;
  void note(Difference& worst, const char* kind, int64_t step, const std::string& where,
            double difference, double allowed);

  const std::vector<parallel::ParameterPtr>& own_;
  const std::vector<parallel::ParameterPtr>* reference_;
  std::map<const parallel::Parameter*, parallel::ParameterSlice> slices_;            // this rank's
  std::map<const parallel::Parameter*, parallel::ParameterSlice> reference_slices_;  // whole
  parallel::Communicator& group_;
  std::vector<at::Tensor> start_;  // this rank's part of the reference's initial parameters
  std::vector<bool> silent_;       // no gradient seen so far
  std::vector<double> moved_;      // root mean square from the start, the most so far
  Difference loss_, gradient_, parameter_;
  Finding first_{INT64_MAX, ""};
  int64_t looked_at_ = 0;
};

}  // namespace dagpam::trainer

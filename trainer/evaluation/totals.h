// trainer/evaluation/totals.h: what evaluations of either kind of data end with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/communicator.h"
#include "trainer/evaluation/evaluator.h"

namespace dagpam::trainer {

// The mean over what all ranks of `group` scored: each gives the sum of its nll, a float64 scalar
// on its device, and its tokens. All call and get the same, up to the rounding of a float64 sum.
Evaluation mean_over_ranks(const at::Tensor& nll, int64_t tokens, parallel::Communicator& group);

// "evaluating 40 %", where standard error is a terminal.
void show_evaluated(int64_t done, int64_t all);

}  // namespace dagpam::trainer

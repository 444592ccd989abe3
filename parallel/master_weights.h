// parallel/master_weights.h: the float32 numbers that an optimizer updates, behind weights that the
// model holds in bfloat16 (Micikevicius et al. 2018, "Mixed precision training").
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "parallel/parameter.h"

namespace dagpam::parallel {

// How a master becomes a weight: to the nearest, ties to even; or up or down at random, so that the
// mean of many roundings is the master (Gupta et al. 2015, "Deep learning with limited numerical
// precision"). What is drawn is a function of (seed, step, parameter name, element of the global
// tensor), so it is the same under every layout, and again where a run goes on from a checkpoint.
struct Rounding {
  bool stochastic = false;
  uint64_t seed = 0;
  int64_t step = 0;  // the optimizer step that gave the masters their values, counted from 0
};

// Whether a parameter of this type has a master, and the type that its gradients are summed in.
bool has_master(const Parameter& parameter);
at::ScalarType sum_type(const Parameter& parameter);

// weights <- master, rounded. Both hold the rows [first_row, first_row + master.size(0)) of what
// this rank holds of `parameter`, in its shape, contiguous; float32 -> bfloat16.
void round_weights(const at::Tensor& master, const at::Tensor& weights, const Parameter& parameter,
                   int64_t first_row, const Rounding& rounding);

// bfloat16 bits of a float32 number: 16 random bits added to those that are cut off decide. Exact
// numbers, infinities and NaN are rounded to the nearest, which needs no chance.
uint16_t round_stochastically(float value, uint16_t random);

}  // namespace dagpam::parallel

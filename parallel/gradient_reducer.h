// parallel/gradient_reducer.h: from the gradients of one rank's micro-batches to what its optimizer
// updates. Two kinds: gradient_buckets.h (every rank of the data-parallel group updates all) and
// sharded_gradients.h (each its part: ZeRO-1).
//
// One backward at a time: autograd runs that of CPU tensors in the calling thread, that of GPU
// tensors in one of its own while the caller waits. All ranks call the same in the same order.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "parallel/master_weights.h"
#include "parallel/parameter.h"

namespace dagpam::parallel {

// The rows of a parameter that this rank updates: [first_row, first_row + value.size(0)) of what it
// holds. Of bfloat16 parameters `value` is the float32 master, which the reducer makes and leaves
// to be filled, and `grad` is float32 too. Tensors that stay good as long as the reducer.
struct ParameterSlice {
  ParameterPtr parameter;
  int64_t first_row = 0;
  at::Tensor value, grad;
};

class GradientReducer {
 public:
  virtual ~GradientReducer() = default;

  // Once a step, before its first backward: all gradients are forgotten (undefined until backward
  // reaches them, which saves zeroing them and adding to the zeros). Also right after a backward
  // that threw, where no reduction has started.
  virtual void begin_step() = 0;

  // Before the last micro-batch's backward of a step: from now on full buckets are reduced.
  virtual void reduce_from_now_on() = 0;

  // After the last backward: the slices' gradients are the sums over ranks. Parameters that
  // backward did not reach have gradient 0 (and are reduced too, so that all ranks make the same
  // calls).
  virtual void finish_step() = 0;

  // L2 norm of the last step's gradient of the whole model, every parameter counted once: a scalar,
  // the same on every rank.
  virtual at::Tensor norm() const = 0;

  // After the optimizer's step, and after masters were filled: every rank gets every parameter's
  // new value, by its first use in a forward pass at the latest (Parameter::ready()). `rounding`
  // makes weights of masters.
  virtual void finish_update(const Rounding& rounding = {}) = 0;

  // Before anything else reads parameters' values: all have arrived.
  virtual void wait_for_parameters() = 0;

  // What this rank's optimizer updates, in bucket order; none is empty.
  virtual const std::vector<ParameterSlice>& slices() const = 0;
};

}  // namespace dagpam::parallel

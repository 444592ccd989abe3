// trainer/update_bound.h: how far apart two copies of a parameter may be whose gradients differ by
// this much.
//
// Adam's update of an entry is m / (sqrt(v) + eps): where the gradient is of the size of its own
// rounding, or of eps, a difference that means nothing turns into a whole step, and where it is
// large into none. A bound for a whole tensor cannot tell the two apart; this one is a number for
// each entry. It follows from the triangle inequality, not from measurement: with gradients that
// differ by at most E, m and sqrt(v) (a norm of the gradients) differ by at most a small multiple
// of E each, and the update by no more than twice its own largest size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "configs/run.pb.h"

namespace dagpam::trainer {

class UpdateBound {
 public:
  // For copies with equal bits of a parameter like this one, on its device.
  UpdateBound(const configs::OptimizerConfig& config, const at::Tensor& like);

  // One update at `rate`, the `step`-th (from 1). `difference`: the most by which an entry of the
  // copies' gradients differs, as the optimizer takes them (clipped). `value` and `second` (ADAMW:
  // exp_avg_sq, else undefined) are those of one copy after the update: the parameter's shape.
  void add_update(int64_t step, double rate, double difference, const at::Tensor& value,
                  const at::Tensor& second);

  // Float64, the parameter's shape; rounding of the parameter itself included.
  const at::Tensor& allowed() const { return allowed_; }

 private:
  configs::OptimizerConfig config_;
  double recent_ = 0;  // largest difference so far, forgotten as the optimizer forgets it
  at::Tensor allowed_;
};

}  // namespace dagpam::trainer

// parallel/linear.h: a linear layer whose backward adds the weights' gradient where it is summed.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/parameter.h"

namespace dagpam::parallel {

// y = x W^T + b: x [..., In], W [Out, In] `weight`, b [Out] `bias` or nullptr -> [..., Out], as
// at::linear gives it. Where the parameters' gradients are summed in one place (gradient_sum,
// reached_hook.h), backward multiplies into that place: no tensor of W's size is made, copied or
// added. With `rows` >= 0 only the first rows of W are read (Out = rows; no bias). Parameters must
// outlive the graph.
at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias, int64_t rows = -1);

// W's gradient dy^T x, for backward passes of other layers: x [R, In] and dy [R, Out] with
// Out <= W's rows. Added to the sum, and undefined; or, where there is none, the gradient [*W].
at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x);

// b's gradient, the sum of dy [R, Out] over its rows, in the same way.
at::Tensor bias_gradient(const at::Tensor& bias, const at::Tensor& dy);

}  // namespace dagpam::parallel

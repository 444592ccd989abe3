// attention/combine.h: Y = (1 + l+) O+ - l- O-, what daGPAM makes of its two maps' answers.
//
// Legend: B batch, N queries, H query heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

namespace dagpam::attention {

// both [B, N, 2 H, D]: O+_0, O-_0, O+_1, O-_1, ...; plus and minus [H] or [1] -> [B, N, H, D]
// contiguous, of both's type. Differentiable once. Float32 and bfloat16 are read and written once,
// in each direction (the lambdas' gradients come of the pass that makes O+'s and O-'s); computed in
// float32 and rounded once. Other types and devices take plain_combine().
at::Tensor combine(const at::Tensor& both, const at::Tensor& plus, const at::Tensor& minus);

// The same by tensor operations: the reference.
at::Tensor plain_combine(const at::Tensor& both, const at::Tensor& plus, const at::Tensor& minus);

}  // namespace dagpam::attention

// attention/fast.h: the CPU kernels as differentiable functions. float32 and float64 on the CPU.
// First derivatives only: backward throws where a graph of itself is asked for (the plain path has
// them all).
//
// Legend: B batch, N queries, H query heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include "attention/maps.h"

namespace dagpam::attention::fast {

// [B, N, H, D] contiguous. Keeps the inputs and the row log-sum-exps for backward.
at::Tensor attend(const Maps& maps, const WeightDropout* dropout);

// ReLU(q) W of each head, plus q itself if `residual`.
at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w, bool residual);

// See reference.h. cos and sin get no gradient.
at::Tensor rotate(const at::Tensor& x, const Rotary& rotary);

}  // namespace dagpam::attention::fast

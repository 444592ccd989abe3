// attention/composed.h: the path of GPUs: both maps of daGPAM as one call of LibTorch's scaled dot
// product attention (by the kernel that library_kernel.h chooses), and a combination of its halves
// (combine.h). Differentiable once, for any device and floating type; lambdas may be of a wider
// type. No dropout on weights: the masks are the project's own, and the plain path applies them.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include "attention/maps.h"

namespace dagpam::attention::composed {

// Which keys a query sees: those up to its own (N = M), all, or what maps.bounds says. Only kBounds
// needs bounds, and costs a mask [B or 1, N, M].
enum class Sight { kCausal, kAll, kBounds };
Sight sight_of(const Visibility& visibility, int64_t queries, int64_t keys);

// ReLU(q) W of each head of q [B, N, H, D], W [H, D, D], plus q itself if `residual`: one batched
// product that reads its operands where they are, while a broadcast one would copy both.
at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w, bool residual);

// -> [B, N, H, D] contiguous. Rows that see no key give 0, with gradient 0.
at::Tensor attend(const Maps& maps, Sight sight);

}  // namespace dagpam::attention::composed

// attention/composed.h: the path of GPUs: both maps of daGPAM as one call of LibTorch's scaled dot
// product attention, and a combination of its halves. Differentiable, for any device and floating
// type; which kernel serves is the library's choice. No dropout on weights: the masks are the
// project's own, and the plain path applies them.
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

// -> [B, N, H, D] contiguous. Rows that see no key give 0, with gradient 0.
at::Tensor attend(const Maps& maps, Sight sight);

}  // namespace dagpam::attention::composed

// attention/reference.h: the plain path, in differentiable tensor operations, for any device and
// floating type. It forms every N x M matrix. The fast path is held against it, and what the fast
// path does not serve comes here.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include "attention/maps.h"

namespace dagpam::attention::reference {

// ReLU(q) W of each head. q [B, N, H, D], w [H, D, D] -> [B, N, H, D].
at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w);

// Halves (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin). x [B, N, heads, D].
at::Tensor rotate(const at::Tensor& x, const Rotary& rotary);

// Whether a query sees a key, of key_bounds(): [B or 1, 1, N, M] booleans on `device`.
at::Tensor visible_keys(const at::Tensor& bounds, int64_t keys, at::Device device);

// x [B, M, Hkv, D] -> [B, H, M, D], each head repeated for the query heads that read it.
at::Tensor per_query_head(const at::Tensor& x, int64_t heads);

// softmax of scores [B, H, N, M] over the visible keys, 0 for the others; all 0 where a row has
// none.
at::Tensor visible_softmax(const at::Tensor& scores, const at::Tensor& visible);

struct Answer {
  at::Tensor y;  // [B, N, H, D]
  at::Tensor
      weights;  // [B, H, N, M], after dropout; a row's sum is 1 or 1 + l+ - l- without dropout
  at::Tensor plus, minus;  // the two maps before dropout, where there are two
  at::Tensor visible;      // [B or 1, 1, N, M] booleans
};
Answer attend(const Maps& maps, const WeightDropout* dropout);

// 1 / (1 - p) where a weight is kept, else 0: [B, H, N, M] of `options`' type and device.
at::Tensor dropout_factors(const WeightDropout& dropout, at::IntArrayRef shape,
                           const at::TensorOptions& options);

}  // namespace dagpam::attention::reference

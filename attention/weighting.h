// attention/weighting.h: attention whose weights are no softmax: any function of one map of scores,
// in differentiable tensor operations, for any device and floating type. It forms N x M matrices in
// forward and again in backward, and keeps none in between.
//
// Legend: B batch, N queries, M keys, H query heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "attention/maps.h"

namespace dagpam::attention {

// What weights are made of, in float32 or float64.
struct Scores {
  at::Tensor q, k;              // [B, H, N, D], [B, H, M, D]
  at::Tensor visible;           // [B or 1, 1, N, M] booleans
  std::vector<at::Tensor> own;  // the variant's parameters

  at::Tensor products() const;       // Q K^T [B, H, N, M]
  at::Tensor scaled() const;         // Q K^T / sqrt D
  at::Tensor visible_count() const;  // keys that a query sees, at least 1: [B or 1, 1, N, 1]
};

// Scores to weights [B, H, N, M]. What it gives for hidden keys must be finite and is not used.
using Weighting = std::function<at::Tensor(const Scores&)>;

struct WeightingOptions {
  bool kept = false;            // by plain autograd, which keeps the matrices
  SeenWeights* seen = nullptr;  // gets the weights and what is visible
};

// weights V, [B, N, H, D] of q's type. Computes in float32, or float64 where q is that. `own` are
// inputs with a gradient. First derivatives only, unless `kept`.
at::Tensor attend_weighted(const Maps& maps, const WeightDropout* dropout,
                           const std::vector<at::Tensor>& own, const Weighting& weighting,
                           const WeightingOptions& options);

}  // namespace dagpam::attention

// attention/cpu_attention.h: tensors in, CPU kernels, tensors out; no autograd (fast.h adds it).
// float32 and float64 on the CPU. Work is cut so that results do not depend on the number of
// threads.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include "attention/maps.h"

namespace dagpam::attention::cpu {

struct Answer {
  at::Tensor y;    // [B, N, H, D] contiguous
  at::Tensor lse;  // [maps, B, H, N] row log-sum-exps: all that backward needs beside the inputs
};
Answer attend(const Maps& maps, const WeightDropout* dropout);

struct MapsGradients {
  at::Tensor q, q_neg, k, v, plus, minus;  // shapes of the inputs; undefined where the input is
};
MapsGradients attend_backward(const Maps& maps, const WeightDropout* dropout, const at::Tensor& lse,
                              const at::Tensor& dy);

// ReLU(q) W of each head, plus q itself if `residual`. q [B, N, H, D], w [H, D, D] -> [B, N, H, D].
at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w, bool residual);

struct HeadMapTensors {
  at::Tensor dq, dw;
};
HeadMapTensors map_queries_backward(const at::Tensor& q, const at::Tensor& w, bool residual,
                                    const at::Tensor& d_out);

// Rotates by +angle (sign 1) or back (sign -1). x [B, N, heads, D]; cos, sin [N or B, N, D / 2].
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int sign);

}  // namespace dagpam::attention::cpu

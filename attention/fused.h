// attention/fused.h: the fused kernels of Hopper GPUs (attention/hopper) as a differentiable
// function, and which calls they take. First derivatives only.
//
// AUTO takes them for the shapes at which they were measured faster than the composed path
// (docs/kernel.md); attention.path: FUSED for all that they serve.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "attention/maps.h"

namespace dagpam::attention::fused {

// Whether AUTO takes the kernels for a call that they serve.
bool measured_faster(int64_t width, int64_t queries, int64_t keys);

// Why the kernels cannot serve q [B, N, H, D] with k [B, M, Hkv, D]; empty where they can: bfloat16
// or float16 of width 64 or 128 on a GPU of compute capability 9.0.
std::string refusal(const at::Tensor& q, const at::Tensor& k);

// -> [B, N, H, D] contiguous. Two maps; maps.bounds undefined: all keys, or by `causal` those up to
// a query's own place. Lambdas of any floating type, read as float32. Where maps.q_neg is
// undefined, Q- is ReLU(q) w_neg, formed in the kernel. Sums of backward have a fixed order where
// LibTorch's deterministic algorithms are on. Throws c10::Error where refusal() has a reason.
at::Tensor attend(const Maps& maps, bool causal, const at::Tensor& w_neg);

}  // namespace dagpam::attention::fused

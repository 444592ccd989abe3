// trainer/kernels/fused_norm.h: a norm, alone or of a sum that the residual stream goes on with, in
// one pass over memory each way.
//
// Legend: B batch, N tokens, C width.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace dagpam::trainer::kernels {

struct NormOptions {
  double eps = 1e-5;
  bool rms = false;  // RMS norm, else layer norm
};

// LibTorch's operators: the reference, for every type and device. x [..., C], weight [C], bias [C]
// or undefined -> [..., C].
at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const NormOptions& options);

// The same, fused in float32 and bfloat16, on a GPU (device_norm.h) of rows up to its kernels'
// width; else the plain one. Saves x and two numbers a token. First derivatives only.
at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                const NormOptions& options);

// s = x + y and its norm: {s, norm(s)}. y may be undefined: {x, norm(x)}.
std::pair<at::Tensor, at::Tensor> add_norm(const at::Tensor& x, const at::Tensor& y,
                                           const at::Tensor& weight, const at::Tensor& bias,
                                           const NormOptions& options);

}  // namespace dagpam::trainer::kernels

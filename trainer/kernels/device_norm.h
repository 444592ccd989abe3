// trainer/kernels/device_norm.h: norms and their gradients on a GPU, each in one pass over memory.
//
// Legend: R rows, C channels.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/kernels/fused_norm.h"

namespace dagpam::trainer::kernels {

// Whether this build has the kernels, for rows of this width.
bool has_device_norm(int64_t width);

// Of float32 or bfloat16, all of one type but stats, contiguous, on one GPU.
struct DeviceNorm {
  at::Tensor x, y;          // [..., C]; y may be undefined
  at::Tensor weight, bias;  // [C]; bias may be undefined
  NormOptions options;
  at::Tensor s;       // [..., C] <- x + y; x itself where there is no y
  at::Tensor normed;  // [..., C] <- the norm of s
  at::Tensor stats;   // float32 [R, 2] <- what the gradient needs
};

struct DeviceNormGradient {
  at::Tensor dy, s, add;     // [..., C]; add, which joins dx, may be undefined
  at::Tensor weight, stats;  // [C] and float32 [R, 2]
  bool rms = false;
  at::Tensor dx;              // [..., C] out
  at::Tensor dweight, dbias;  // [C] out; dbias may be undefined
};

// On the current stream, no host wait. Throw c10::Error, always in a build without CUDA.
void device_norm(const DeviceNorm& call);

// Sums over rows are float32, in a fixed order: the same bits each time, rounded once.
void device_norm_gradient(const DeviceNormGradient& call);

}  // namespace dagpam::trainer::kernels

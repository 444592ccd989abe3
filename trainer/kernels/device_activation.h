// trainer/kernels/device_activation.h: activations and their gradients on a GPU, in one pass each.
#pragma once

#include "trainer/kernels/fused_mlp.h"

namespace dagpam::trainer::kernels {

// Whether this build has the kernels.
bool has_device_activation();

// a <- act(in), of in.h's shape and type: float32 or bfloat16, contiguous, on one GPU. On the
// current stream, no host wait. Throw c10::Error, always in a build without CUDA.
void device_activation(const ActivationInput& in, const at::Tensor& a);

// a <- act(in), da <- the gradient of in.h, dgate (of SWIGLU) <- that of in.gate; the sums of these
// two over the rows, in a fixed order, become `bias` and `gate_bias` where `in` has such.
void device_activation_gradient(const ActivationInput& in, const at::Tensor& a,
                                const at::Tensor& da, const at::Tensor& dgate, at::Tensor& bias,
                                at::Tensor& gate_bias);

}  // namespace dagpam::trainer::kernels

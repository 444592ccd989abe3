// trainer/kernels/fused_mlp.h: the second half of an MLP, activation and projection down, as one
// operator that keeps what went into the activation alone.
//
// Legend: R tokens, M hidden channels (of this rank), C width.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/parameter.h"

namespace dagpam::trainer::kernels {

enum class Activation { kRelu, kGelu, kGeluTanh, kSwiglu };

// What an activation reads: h [..., M] and, of SWIGLU, g [..., M], both without their biases [M],
// which may be undefined (both or none).
struct ActivationInput {
  Activation kind = Activation::kGelu;
  at::Tensor h, bias, gate, gate_bias;
};

// act(h + bias), of SWIGLU silu(gate + gate_bias) (h + bias), of LibTorch's operators: the
// reference, for every type and device. GELU is the exact one, GELU_TANH that of GPT-2.
at::Tensor plain_activation(const ActivationInput& in);

// Whether activated_product is fused for a tensor of this type and device.
bool fuses_activation(const at::Tensor& x);

// act(...) W^T + b, W [C, M] `down`, b [C] `down_bias` or nullptr: [..., C]. Fused on CPUs and GPUs
// in float32 and bfloat16: backward makes the activation again, in the pass that makes its slope,
// so of the M (2 M) channels a token that a layer hands down none are kept but those handed up.
// Elsewhere the plain activation and a linear layer. Parameters must outlive the graph. First
// derivatives only.
at::Tensor activated_product(const ActivationInput& in, parallel::Parameter& down,
                             parallel::Parameter* down_bias);

}  // namespace dagpam::trainer::kernels

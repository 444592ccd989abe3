// trainer/kernels/activation_kernel.h: launches step_math.h on a GPU. For
// device_activation_cuda.cpp.
#pragma once

#include <cstdint>

#include "parallel/vector_math.h"
#include "trainer/kernels/step_math.h"

namespace dagpam::trainer::kernels {

enum class KernelActivation { kRelu, kGelu, kGeluTanh, kSwiglu };

// Rows of `width` elements in the GPU's memory, as fused_mlp.h has them; absent ones are null.
template <class Real>
struct ActivationProblem {
  const Real *h, *bias, *gate, *gate_bias;
  Real* a;
  Real *da, *dgate;  // of the gradient: da in, dh out
  int64_t elements, width;
};

// Element i of a problem, forward or with its gradient; tests run it on the host.
template <KernelActivation kKind, bool kGradient, class Real>
DAGPAM_ROW_FUNCTION void activation_element(const ActivationProblem<Real>& p, int64_t i) {
  using parallel::rows::narrow;
  using parallel::rows::widen;
  const int64_t column = i % p.width;
  const float h = widen(p.h[i]) + (p.bias != nullptr ? widen(p.bias[column]) : 0.0f);
  if (kKind == KernelActivation::kSwiglu) {
    const float g = widen(p.gate[i]) + (p.gate_bias != nullptr ? widen(p.gate_bias[column]) : 0.0f);
    const Activated act = silu_at(g);
    narrow(act.value * h, p.a[i]);
    if (!kGradient) return;
    const float d = widen(p.da[i]);
    narrow(d * act.value, p.da[i]);
    narrow(d * h * act.slope, p.dgate[i]);
  } else {
    const Activated act = kKind == KernelActivation::kRelu   ? relu_at(h)
                          : kKind == KernelActivation::kGelu ? gelu_at(h)
                                                             : gelu_tanh_at(h);
    narrow(act.value, p.a[i]);
    if (kGradient) narrow(widen(p.da[i]) * act.slope, p.da[i]);
  }
}

// `stream` is a cudaStream_t. Returns the launch's cudaError_t.
int launch_activation(KernelActivation kind, bool gradient, const ActivationProblem<float>& problem,
                      void* stream);
int launch_activation(KernelActivation kind, bool gradient,
                      const ActivationProblem<parallel::rows::Bf16>& problem, void* stream);

}  // namespace dagpam::trainer::kernels

#include <cuda_runtime.h>

#include "trainer/kernels/activation_kernel.h"

namespace dagpam::trainer::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 4096;  // each thread then takes several elements

template <KernelActivation kKind, bool kGradient, class Real>
__global__ void activation_kernel(ActivationProblem<Real> problem) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < problem.elements; i += step) {
    activation_element<kKind, kGradient>(problem, i);
  }
}

template <KernelActivation kKind, class Real>
int launch_kind(bool gradient, const ActivationProblem<Real>& problem, void* stream) {
  if (problem.elements == 0) return cudaSuccess;
  const int64_t needed = (problem.elements + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(needed < kMostBlocks ? needed : kMostBlocks);
  const auto on = static_cast<cudaStream_t>(stream);
  if (gradient) {
    activation_kernel<kKind, true><<<blocks, kThreads, 0, on>>>(problem);
  } else {
    activation_kernel<kKind, false><<<blocks, kThreads, 0, on>>>(problem);
  }
  return cudaGetLastError();
}

template <class Real>
int launch(KernelActivation kind, bool gradient, const ActivationProblem<Real>& problem,
           void* stream) {
  switch (kind) {
    case KernelActivation::kRelu:
      return launch_kind<KernelActivation::kRelu>(gradient, problem, stream);
    case KernelActivation::kGelu:
      return launch_kind<KernelActivation::kGelu>(gradient, problem, stream);
    case KernelActivation::kGeluTanh:
      return launch_kind<KernelActivation::kGeluTanh>(gradient, problem, stream);
    case KernelActivation::kSwiglu:
      return launch_kind<KernelActivation::kSwiglu>(gradient, problem, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

int launch_activation(KernelActivation kind, bool gradient, const ActivationProblem<float>& problem,
                      void* stream) {
  return launch(kind, gradient, problem, stream);
}

int launch_activation(KernelActivation kind, bool gradient,
                      const ActivationProblem<parallel::rows::Bf16>& problem, void* stream) {
  return launch(kind, gradient, problem, stream);
}

}  // namespace dagpam::trainer::kernels

// device_activation.h with CUDA in the build.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include "trainer/kernels/activation_kernel.h"
#include "trainer/kernels/device_activation.h"
#include "trainer/kernels/typed_data.h"

namespace dagpam::trainer::kernels {
namespace {

KernelActivation kernel_of(Activation kind) {
  return kind == Activation::kRelu       ? KernelActivation::kRelu
         : kind == Activation::kGelu     ? KernelActivation::kGelu
         : kind == Activation::kGeluTanh ? KernelActivation::kGeluTanh
                                         : KernelActivation::kSwiglu;
}

void run(const ActivationInput& in, const at::Tensor& a, const at::Tensor& da,
         const at::Tensor& dgate) {
  const c10::cuda::CUDAGuard guard(a.device());
  void* const stream = c10::cuda::getCurrentCUDAStream(a.device().index()).stream();
  int result = cudaSuccess;
  typed(a, [&](auto real) {
    using Real = decltype(real);
    const ActivationProblem<Real> problem{data_of<Real>(in.h),
                                          data_of<Real>(in.bias),
                                          data_of<Real>(in.gate),
                                          data_of<Real>(in.gate_bias),
                                          data_of<Real>(a),
                                          data_of<Real>(da),
                                          data_of<Real>(dgate),
                                          a.numel(),
                                          a.size(-1)};
    result = launch_activation(kernel_of(in.kind), da.defined(), problem, stream);
  });
  TORCH_CHECK(result == cudaSuccess,
              "activation kernel: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
}

}  // namespace

bool has_device_activation() { return true; }

void device_activation(const ActivationInput& in, const at::Tensor& a) { run(in, a, {}, {}); }

void device_activation_gradient(const ActivationInput& in, const at::Tensor& a,
                                const at::Tensor& da, const at::Tensor& dgate) {
  run(in, a, da, dgate);
}

}  // namespace dagpam::trainer::kernels

// device_activation.h with CUDA in the build.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include "parallel/column_sum_kernel.h"
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

void check(int result) {
  TORCH_CHECK(result == cudaSuccess,
              "activation kernel: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
}

template <class Real>
ActivationProblem<Real> problem_of(const ActivationInput& in, const at::Tensor& a,
                                   const at::Tensor& da, const at::Tensor& dgate) {
  return {data_of<Real>(in.h),         data_of<Real>(in.bias), data_of<Real>(in.gate),
          data_of<Real>(in.gate_bias), data_of<Real>(a),       data_of<Real>(da),
          data_of<Real>(dgate),        a.numel() / a.size(-1), a.size(-1)};
}

at::Tensor parts_of(const parallel::ColumnTiles& tiles, const at::Tensor& a) {
  return at::empty({tiles.parts, a.size(-1)}, a.options().dtype(at::kFloat));
}

template <class Real>
void add_parts(const at::Tensor& parts, const at::Tensor& out, void* stream) {
  check(parallel::launch_column_sums(parts.const_data_ptr<float>(), parts.size(0), parts.size(1),
                                     /*add=*/false, data_of<Real>(out), stream));
}

void* stream_of(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

}  // namespace

bool has_device_activation() { return true; }

void device_activation(const ActivationInput& in, const at::Tensor& a) {
  const c10::cuda::CUDAGuard guard(a.device());
  typed(a, [&](auto real) {
    const auto problem = problem_of<decltype(real)>(in, a, {}, {});
    check(launch_activation(kernel_of(in.kind), /*gradient=*/false, activation_tiles(problem),
                            problem, stream_of(a)));
  });
}

void device_activation_gradient(const ActivationInput& in, const at::Tensor& a,
                                const at::Tensor& da, const at::Tensor& dgate, at::Tensor& bias,
                                at::Tensor& gate_bias) {
  const c10::cuda::CUDAGuard guard(a.device());
  typed(a, [&](auto real) {
    using Real = decltype(real);
    ActivationProblem<Real> problem = problem_of<Real>(in, a, da, dgate);
    const parallel::ColumnTiles tiles = activation_tiles(problem);
    at::Tensor parts, gate_parts;  // [tiles.parts, M]
    if (in.bias.defined()) {
      parts = parts_of(tiles, a);
      problem.bias_parts = data_of<float>(parts);
    }
    if (in.gate_bias.defined()) {
      gate_parts = parts_of(tiles, a);
      problem.gate_bias_parts = data_of<float>(gate_parts);
    }
    void* const stream = stream_of(a);
    check(launch_activation(kernel_of(in.kind), /*gradient=*/true, tiles, problem, stream));
    if (parts.defined()) {
      bias = at::empty_like(in.bias);
      add_parts<Real>(parts, bias, stream);
    }
    if (gate_parts.defined()) {
      gate_bias = at::empty_like(in.gate_bias);
      add_parts<Real>(gate_parts, gate_bias, stream);
    }
  });
}

}  // namespace dagpam::trainer::kernels

// device_norm.h with CUDA in the build.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <initializer_list>

#include "trainer/kernels/device_norm.h"
#include "trainer/kernels/norm_kernel.h"
#include "trainer/kernels/typed_data.h"

namespace dagpam::trainer::kernels {
namespace {

constexpr int64_t kPackBytes = 16;

void check(int result, const char* what) {
  TORCH_CHECK(result == cudaSuccess, what, ": ",
              cudaGetErrorString(static_cast<cudaError_t>(result)));
}

void* stream_of(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

// Whether every row starts at a multiple of what is read at once, and ends there.
bool packed(std::initializer_list<at::Tensor> rows) {
  return std::all_of(rows.begin(), rows.end(), [](const at::Tensor& t) {
    return !t.defined() || (t.size(-1) * static_cast<int64_t>(t.element_size()) % kPackBytes == 0 &&
                            reinterpret_cast<uintptr_t>(t.const_data_ptr()) % kPackBytes == 0);
  });
}

}  // namespace

bool has_device_norm(int64_t width) { return width <= kWidestNorm; }

void device_norm(const DeviceNorm& call) {
  const c10::cuda::CUDAGuard guard(call.x.device());
  typed(call.x, [&](auto real) {
    using Real = decltype(real);
    NormProblem<Real> problem;
    problem.rows = call.stats.size(0);
    problem.width = call.x.size(-1);
    problem.x = data_of<Real>(call.x);
    problem.y = data_of<Real>(call.y);
    problem.weight = data_of<Real>(call.weight);
    problem.bias = data_of<Real>(call.bias);
    problem.s = data_of<Real>(call.s);
    problem.normed = data_of<Real>(call.normed);
    problem.stats = call.stats.mutable_data_ptr<float>();
    problem.eps = static_cast<float>(call.options.eps);
    problem.rms = call.options.rms;
    const bool whole = packed({call.x, call.y, call.weight, call.bias, call.s, call.normed});
    check(launch_norm(problem, whole, stream_of(call.x)), "norm kernel");
  });
}

void device_norm_gradient(const DeviceNormGradient& call) {
  const c10::cuda::CUDAGuard guard(call.dy.device());
  int processors = 0;
  check(
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, call.dy.device().index()),
      "number of processors");
  const int64_t rows = call.stats.size(0), width = call.dy.size(-1);
  const int64_t parts = norm_parts(rows, width, processors);
  const at::Tensor sums =
      at::empty({parts, call.dbias.defined() ? 2 : 1, width}, call.stats.options());
  typed(call.dy, [&](auto real) {
    using Real = decltype(real);
    NormGradientProblem<Real> problem;
    problem.rows = rows;
    problem.width = width;
    problem.dy = data_of<Real>(call.dy);
    problem.s = data_of<Real>(call.s);
    problem.add = data_of<Real>(call.add);
    problem.weight = data_of<Real>(call.weight);
    problem.stats = call.stats.const_data_ptr<float>();
    problem.dx = data_of<Real>(call.dx);
    problem.dweight = data_of<Real>(call.dweight);
    problem.dbias = data_of<Real>(call.dbias);
    problem.sums = sums.mutable_data_ptr<float>();
    problem.parts = parts;
    problem.rms = call.rms;
    const bool whole = packed({call.dy, call.s, call.add, call.weight, call.dx});
    check(launch_norm_gradient(problem, whole, stream_of(call.dy)), "gradient of the norm");
  });
}

}  // namespace dagpam::trainer::kernels

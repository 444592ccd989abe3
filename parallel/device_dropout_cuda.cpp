// device_dropout.h with CUDA in the build.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include "parallel/device_dropout.h"
#include "parallel/dropout_kernel.h"

namespace dagpam::parallel {
namespace {

template <class Real>
int launch_as(const DropoutMask& mask, const at::Tensor& samples, const at::Tensor& x,
              at::Tensor& y) {
  return launch_dropout(
      mask, samples.const_data_ptr<int64_t>(), x.defined() ? x.const_data_ptr<Real>() : nullptr,
      y.mutable_data_ptr<Real>(), c10::cuda::getCurrentCUDAStream(y.device().index()).stream());
}

}  // namespace

void apply_device_dropout(DropoutMask mask, const DropoutKey& key, const at::Tensor& samples,
                          const at::Tensor& x, at::Tensor& y) {
  TORCH_CHECK(
      y.is_cuda() && samples.device() == y.device() && (!x.defined() || x.device() == y.device()),
      "dropout on ", y.device(), " takes its samples and input there, not on ", samples.device());
  mask.key = key.value;
  if (key.lying.defined()) {
    TORCH_CHECK(key.lying.device() == y.device() && key.lying.scalar_type() == at::kLong,
                "dropout on ", y.device(), " takes its key there, not on ", key.lying.device());
    mask.lying_key = reinterpret_cast<const uint64_t*>(key.lying.const_data_ptr<int64_t>());
  }
  const c10::cuda::CUDAGuard guard(y.device());
  const int result = y.scalar_type() == at::kDouble ? launch_as<double>(mask, samples, x, y)
                                                    : launch_as<float>(mask, samples, x, y);
  TORCH_CHECK(result == cudaSuccess,
              "dropout kernel: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
}

}  // namespace dagpam::parallel

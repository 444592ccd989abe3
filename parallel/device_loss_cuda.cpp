// device_loss.h with CUDA in the build.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include "parallel/device_loss.h"
#include "parallel/loss_kernel.h"

namespace dagpam::parallel {
namespace {

void check(int result) {
  TORCH_CHECK(result == cudaSuccess,
              "loss kernel: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
}

void* stream_of(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
}

void launch(LossPass pass, const LossProblem& problem, const at::Tensor& logits) {
  const c10::cuda::CUDAGuard guard(logits.device());
  check(logits.scalar_type() == at::kFloat
            ? launch_loss(pass, problem, logits.mutable_data_ptr<float>(), stream_of(logits))
            : launch_loss(pass, problem,
                          reinterpret_cast<rows::Bf16*>(logits.mutable_data_ptr<c10::BFloat16>()),
                          stream_of(logits)));
}

}  // namespace

void device_loss_sums(const LossProblem& problem, const at::Tensor& logits) {
  launch(LossPass::kSums, problem, logits);
}
void device_loss_gradient(const LossProblem& problem, const at::Tensor& logits) {
  launch(LossPass::kGradient, problem, logits);
}
void device_loss_rebase(const LossProblem& problem, const at::Tensor& all) {
  const c10::cuda::CUDAGuard guard(all.device());
  check(launch_loss_rebase(problem, all.const_data_ptr<float>(), stream_of(all)));
}

}  // namespace dagpam::parallel

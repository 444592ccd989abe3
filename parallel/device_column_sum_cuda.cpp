// device_column_sum.h with CUDA in the build.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include "parallel/column_sum_kernel.h"
#include "parallel/device_column_sum.h"

namespace dagpam::parallel {
namespace {

void check(int result) {
  TORCH_CHECK(result == cudaSuccess,
              "column sum kernel: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
}

// `Real` is the kernel's name of the tensors' `Element`.
template <class Real, class Element>
void run(const at::Tensor& x, bool add, const at::Tensor& out) {
  const ColumnSumProblem<Real> problem{reinterpret_cast<const Real*>(x.const_data_ptr<Element>()),
                                       x.size(0), x.size(1), x.stride(0)};
  constexpr int kWidest = rows::kWidestPack<Real>;
  const bool packs = rows::starts_pack(problem.x) && problem.width % kWidest == 0 &&
                     problem.row_step % kWidest == 0;
  const ColumnTiles tiles = column_tiles(problem.rows, problem.width, packs ? kWidest : 1);
  const at::Tensor parts = at::empty({tiles.parts, problem.width}, x.options().dtype(at::kFloat));
  void* const stream = c10::cuda::getCurrentCUDAStream(x.device().index()).stream();
  check(launch_column_parts(tiles, problem, parts.mutable_data_ptr<float>(), stream));
  check(launch_column_sums(parts.const_data_ptr<float>(), tiles.parts, problem.width, add,
                           reinterpret_cast<Real*>(out.mutable_data_ptr<Element>()), stream));
}

}  // namespace

bool has_device_column_sum(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

void device_column_sum(const at::Tensor& x, bool add, const at::Tensor& out) {
  TORCH_CHECK(x.dim() == 2 && out.dim() == 1 && out.size(0) == x.size(1) && out.is_contiguous() &&
                  out.scalar_type() == x.scalar_type() && out.device() == x.device(),
              "the column sum of ", x.scalar_type(), " ", x.sizes(), " on ", x.device(),
              " does not go to ", out.scalar_type(), " ", out.sizes(), " on ", out.device());
  const c10::cuda::CUDAGuard guard(x.device());
  const at::Tensor lying = x.stride(1) == 1 ? x : x.contiguous();
  if (x.scalar_type() == at::kFloat) {
    run<float, float>(lying, add, out);
  } else {
    run<rows::Bf16, c10::BFloat16>(lying, add, out);
  }
}

}  // namespace dagpam::parallel

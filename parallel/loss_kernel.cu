#include <cuda_runtime.h>

#include "parallel/loss_kernel.h"

namespace dagpam::parallel {
namespace {

// A block a row: rows of a vocabulary are long. Sums are made in a fixed order. Small blocks, so
// that while one adds up its threads others of its multiprocessor read.
constexpr int kThreads = 256;

__device__ LossRunning of_lane(const LossRunning& x, int step) {
  return {__shfl_down_sync(0xffffffffu, x.largest, step),
          __shfl_down_sync(0xffffffffu, x.exponentials, step),
          __shfl_down_sync(0xffffffffu, x.shifted, step),
          __shfl_down_sync(0xffffffffu, x.count, step)};
}

// Of all threads, in thread 0 alone.
__device__ LossRunning of_block(LossRunning x) {
  __shared__ float of_warp[kThreads / 32][4];
  for (int step = 16; step > 0; step /= 2) x = loss_joined(x, of_lane(x, step));
  float* const own = of_warp[threadIdx.x / 32];
  if (threadIdx.x % 32 == 0) {
    own[0] = x.largest, own[1] = x.exponentials, own[2] = x.shifted, own[3] = x.count;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / 32; ++warp) {
      const float* const other = of_warp[warp];
      x = loss_joined(x, {other[0], other[1], other[2], other[3]});
    }
  }
  return x;
}

template <class Real>
__global__ void __launch_bounds__(kThreads) sums_kernel(LossProblem problem, const Real* z) {
  const int64_t row = blockIdx.x;
  const Real* const own = z + row * problem.symbols;
  const LossRunning sums = of_block(loss_sums_part(own, problem.symbols, threadIdx.x, kThreads));
  if (threadIdx.x == 0) loss_write_sums(problem, own, row, sums);
}

template <class Real>
__global__ void __launch_bounds__(kThreads) gradient_kernel(LossProblem problem, Real* z) {
  const int64_t row = blockIdx.x;
  loss_gradient_part(problem, z + row * problem.symbols, row, threadIdx.x, kThreads);
}

__global__ void rebase_kernel(LossProblem problem, const float* all) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row < problem.rows) loss_rebase_row(problem, all, row);
}

template <class Real>
int launch(LossPass pass, const LossProblem& problem, Real* z, void* stream) {
  if (problem.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(problem.rows);
  const auto on = static_cast<cudaStream_t>(stream);
  if (pass == LossPass::kSums) {
    sums_kernel<<<blocks, kThreads, 0, on>>>(problem, z);
  } else {
    gradient_kernel<<<blocks, kThreads, 0, on>>>(problem, z);
  }
  return cudaGetLastError();
}

}  // namespace

int launch_loss(LossPass pass, const LossProblem& problem, float* z, void* stream) {
  return launch(pass, problem, z, stream);
}

int launch_loss(LossPass pass, const LossProblem& problem, rows::Bf16* z, void* stream) {
  return launch(pass, problem, z, stream);
}

int launch_loss_rebase(const LossProblem& problem, const float* all, void* stream) {
  if (problem.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((problem.rows + kThreads - 1) / kThreads);
  rebase_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(problem, all);
  return cudaGetLastError();
}

}  // namespace dagpam::parallel

#include <cuda_runtime.h>

#include "parallel/loss_kernel.h"

namespace dagpam::parallel {
namespace {

// A block a row: rows of a vocabulary are long. Sums are made in a fixed order.
constexpr int kThreads = 512;

struct Larger {
  __device__ float operator()(float a, float b) const { return loss_larger(a, b); }
};
struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// Of all threads' values, in thread 0 alone.
template <class Combine>
__device__ float of_block(float x, Combine combine) {
  __shared__ float of_warp[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) x = combine(x, __shfl_down_sync(0xffffffffu, x, step));
  __syncthreads();  // of an earlier call
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / 32; ++warp) x = combine(x, of_warp[warp]);
  }
  return x;
}

template <class Real>
__global__ void largest_kernel(LossProblem problem, const Real* z) {
  const int64_t row = blockIdx.x;
  const float most =
      of_block(loss_largest_part(z + row * problem.symbols, problem.symbols, threadIdx.x, kThreads),
               Larger());
  if (threadIdx.x == 0) problem.largest[row] = most;
}

template <class Real>
__global__ void sums_kernel(LossProblem problem, const Real* z) {
  const int64_t row = blockIdx.x;
  const Real* const own = z + row * problem.symbols;
  const float largest = problem.largest[row];
  float exponentials, shifted;
  loss_sums_part(own, problem.symbols, largest, threadIdx.x, kThreads, &exponentials, &shifted);
  exponentials = of_block(exponentials, Plus());
  shifted = of_block(shifted, Plus());
  if (threadIdx.x > 0) return;
  const int64_t target = problem.targets[row] - problem.first;
  const bool here = target >= 0 && target < problem.symbols;
  problem.sums[row] = exponentials;
  problem.sums[problem.rows + row] = here ? rows::widen(own[target]) - largest : 0.0f;
  problem.sums[2 * problem.rows + row] = shifted;
}

template <class Real>
__global__ void gradient_kernel(LossProblem problem, Real* z) {
  const int64_t row = blockIdx.x;
  loss_gradient_part(problem, z + row * problem.symbols, row, threadIdx.x, kThreads);
}

template <class Real>
int launch(LossPass pass, const LossProblem& problem, Real* z, void* stream) {
  if (problem.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(problem.rows);
  const auto on = static_cast<cudaStream_t>(stream);
  if (pass == LossPass::kLargest) {
    largest_kernel<<<blocks, kThreads, 0, on>>>(problem, z);
  } else if (pass == LossPass::kSums) {
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

}  // namespace dagpam::parallel

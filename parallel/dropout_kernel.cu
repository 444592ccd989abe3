#include <cuda_runtime.h>

#include "parallel/dropout_kernel.h"

namespace dagpam::parallel {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 4096;  // each thread then takes several quads

template <class Real>
__global__ void dropout_kernel(DropoutMask mask, const int64_t* samples, const Real* x, Real* y) {
  const int64_t quads = dropout_quads(mask), all = mask.rows * quads;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < all;
       i += step) {
    dropout_quad(mask, samples, i / quads, i % quads, x, y);
  }
}

template <class Real>
int launch(const DropoutMask& mask, const int64_t* samples, const Real* x, Real* y, void* stream) {
  const int64_t all = mask.rows * dropout_quads(mask);
  if (all == 0) return cudaSuccess;
  const int64_t needed = (all + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(needed < kMostBlocks ? needed : kMostBlocks);
  dropout_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(mask, samples, x, y);
  return cudaGetLastError();
}

}  // namespace

int launch_dropout(const DropoutMask& mask, const int64_t* samples, const float* x, float* y,
                   void* stream) {
  return launch(mask, samples, x, y, stream);
}

int launch_dropout(const DropoutMask& mask, const int64_t* samples, const double* x, double* y,
                   void* stream) {
  return launch(mask, samples, x, y, stream);
}

}  // namespace dagpam::parallel

#include <cuda_runtime.h>

#include "attention/combine_kernel.h"

namespace dagpam::attention {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostParts = 256;  // times the heads: enough blocks for any GPU
constexpr int64_t kTokensOfAThread = 8;

// A block is rows of threads: those of a row share a token's head, D / pack of them or a warp, and
// the rows take tokens in turn. Block (x, y) has head y.
dim3 threads_of(const CombineShape& shape, int pack) {
  int row = 1;
  while (row < 32 && row * pack < shape.width) row *= 2;
  return dim3(static_cast<unsigned>(row), static_cast<unsigned>(kThreads / row));
}

dim3 blocks_of(const CombineShape& shape) {
  return dim3(static_cast<unsigned>(combine_parts(shape)), static_cast<unsigned>(shape.heads));
}

template <int kPack, class Real>
__global__ void combine_kernel(CombineShape s, const float* plus, const float* minus,
                               const Real* both, Real* y) {
  const int64_t head = blockIdx.y, tokens = s.batch * s.queries;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t token = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; token < tokens;
       token += step) {
    for (int64_t first = threadIdx.x * kPack; first < s.width; first += blockDim.x * kPack) {
      combine_pack<kPack>(s, plus, minus, token, head, first, both, y);
    }
  }
}

// The sums of a block are added in a fixed order, so that a run repeats bit for bit.
template <int kPack, class Real>
__global__ void backward_kernel(CombineShape s, const float* plus, const float* minus,
                                const Real* both, const Real* dy, Real* d_both, float* parts) {
  __shared__ CombineSums shared[kThreads];
  const int64_t head = blockIdx.y, tokens = s.batch * s.queries;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  CombineSums own;
  for (int64_t token = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; token < tokens;
       token += step) {
    for (int64_t first = threadIdx.x * kPack; first < s.width; first += blockDim.x * kPack) {
      combine_pack_backward<kPack>(s, plus, minus, token, head, first, both, dy, d_both, &own);
    }
  }
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
  shared[thread] = own;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) {
      shared[thread].plus += shared[thread + half].plus;
      shared[thread].minus += shared[thread + half].minus;
    }
    __syncthreads();
  }
  if (thread != 0) return;
  float* const out = parts + 2 * (head * gridDim.x + blockIdx.x);
  out[0] = shared[0].plus;
  out[1] = shared[0].minus;
}

template <int kPack, class Real>
int forward(const CombineShape& shape, const float* plus, const float* minus, const Real* both,
            Real* y, void* stream) {
  combine_kernel<kPack>
      <<<blocks_of(shape), threads_of(shape, kPack), 0, static_cast<cudaStream_t>(stream)>>>(
          shape, plus, minus, both, y);
  return cudaGetLastError();
}

template <int kPack, class Real>
int backward(const CombineShape& shape, const float* plus, const float* minus, const Real* both,
             const Real* dy, Real* d_both, float* parts, void* stream) {
  backward_kernel<kPack>
      <<<blocks_of(shape), threads_of(shape, kPack), 0, static_cast<cudaStream_t>(stream)>>>(
          shape, plus, minus, both, dy, d_both, parts);
  return cudaGetLastError();
}

bool empty(const CombineShape& shape) {
  return shape.batch * shape.queries * shape.heads * shape.width == 0;
}

}  // namespace

int64_t combine_parts(const CombineShape& shape) {
  const int64_t rows = kThreads / 32 * kTokensOfAThread;
  const int64_t needed = (shape.batch * shape.queries + rows - 1) / rows;
  return needed < 1 ? 1 : needed < kMostParts ? needed : kMostParts;
}

int launch_combine(const CombineShape& shape, int pack, const float* plus, const float* minus,
                   const float* both, float* y, void* stream) {
  if (empty(shape)) return cudaSuccess;
  return pack >= 4 ? forward<4>(shape, plus, minus, both, y, stream)
                   : forward<1>(shape, plus, minus, both, y, stream);
}

int launch_combine(const CombineShape& shape, int pack, const float* plus, const float* minus,
                   const Bits16* both, Bits16* y, void* stream) {
  if (empty(shape)) return cudaSuccess;
  return pack >= 8 ? forward<8>(shape, plus, minus, both, y, stream)
                   : forward<1>(shape, plus, minus, both, y, stream);
}

int launch_combine_backward(const CombineShape& shape, int pack, const float* plus,
                            const float* minus, const float* both, const float* dy, float* d_both,
                            float* parts, void* stream) {
  if (empty(shape)) return cudaSuccess;
  return pack >= 4 ? backward<4>(shape, plus, minus, both, dy, d_both, parts, stream)
                   : backward<1>(shape, plus, minus, both, dy, d_both, parts, stream);
}

int launch_combine_backward(const CombineShape& shape, int pack, const float* plus,
                            const float* minus, const Bits16* both, const Bits16* dy,
                            Bits16* d_both, float* parts, void* stream) {
  if (empty(shape)) return cudaSuccess;
  return pack >= 8 ? backward<8>(shape, plus, minus, both, dy, d_both, parts, stream)
                   : backward<1>(shape, plus, minus, both, dy, d_both, parts, stream);
}

}  // namespace dagpam::attention

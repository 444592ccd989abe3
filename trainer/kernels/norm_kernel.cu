#include <cuda_runtime.h>

#include <type_traits>

#include "trainer/kernels/norm_kernel.h"

namespace dagpam::trainer::kernels {
namespace {

using parallel::rows::Bf16;

// A block has kThreads: a row's are blockDim.x of them, a warp where a row has at most 1,024
// channels; blockDim.y rows are taken at once.
constexpr int kThreads = 256;
constexpr int kMostElements = 32;  // of a row in a thread's registers
constexpr int kBlocksOfProcessor = 2;
constexpr int kColumns = 32, kColumnThreads = 32;  // of a block that adds up parts
static_assert(kWidestNorm == kThreads * kMostElements);

template <class Real>
constexpr int kWholePack = 16 / static_cast<int>(sizeof(Real));

// x[i] <- its sum over the row's threads, in each of them, in a fixed order. All threads of the
// block call.
template <int kSums>
__device__ void sum_of_row(float (&x)[kSums]) {
  __shared__ float of_warp[kSums][kThreads / 32];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    for (int i = 0; i < kSums; ++i) x[i] += __shfl_xor_sync(0xffffffffu, x[i], step);
  }
  if (blockDim.x == 32) return;
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x, warps = blockDim.x / 32;
  __syncthreads();  // of an earlier call
  if (thread % 32 == 0) {
    for (int i = 0; i < kSums; ++i) of_warp[i][thread / 32] = x[i];
  }
  __syncthreads();
  for (int i = 0; i < kSums; ++i) {
    x[i] = 0;
    for (unsigned warp = 0; warp < warps; ++warp) x[i] += of_warp[i][threadIdx.y * warps + warp];
  }
}

template <int kPack, int kElements, class Real>
__global__ void __launch_bounds__(kThreads) norm_kernel(NormProblem<Real> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const bool there = row < p.rows;
  float held[kElements] = {}, sum[1] = {0};
  if (there) sum[0] = norm_load<kPack>(p, row, threadIdx.x, blockDim.x, held);
  float mean = 0;
  if (!p.rms) {
    sum_of_row(sum);
    mean = sum[0] * (1.0f / static_cast<float>(p.width));
  }
  float squares[1] = {norm_squares<kPack>(p.width, threadIdx.x, blockDim.x, mean, held)};
  sum_of_row(squares);
  if (!there) return;
  const float scale = norm_scale(p.width, squares[0], p.eps);
  norm_store<kPack>(p, row, threadIdx.x, blockDim.x, mean, scale, held);
  if (threadIdx.x == 0) {
    p.stats[2 * row] = mean;
    p.stats[2 * row + 1] = scale;
  }
}

// shared[channel] <- the sum of `own` over the block's rows of threads, one after the other; then
// to `out`.
template <int kPack, int kElements>
__device__ void sum_of_block(int64_t width, const float (&own)[kElements], float* shared,
                             float* out) {
  for (unsigned turn = 0; turn < blockDim.y; ++turn) {
    if (threadIdx.y == turn) {
#pragma unroll
      for (int pack = 0; pack < kElements / kPack; ++pack) {
        const int64_t channel = norm_channel<kPack>(threadIdx.x, blockDim.x, pack);
        if (channel >= width) continue;
        for (int i = 0; i < kPack; ++i) {
          const float before = turn > 0 ? shared[channel + i] : 0.0f;
          const float sum = before + own[pack * kPack + i];
          if (turn + 1 < blockDim.y) {
            shared[channel + i] = sum;
          } else {
            out[channel + i] = sum;
          }
        }
      }
    }
    __syncthreads();
  }
}

template <int kPack, int kElements, bool kBias, class Real>
__global__ void __launch_bounds__(kThreads) norm_gradient_kernel(NormGradientProblem<Real> p) {
  __shared__ float shared[kThreads / 2 * kMostElements];  // where rows share a block
  NormGradientThread<Real, kPack, kElements, kBias> own;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y; first < p.rows;
       first += step) {
    const int64_t row = first + threadIdx.y;
    const bool there = row < p.rows;
    float sums[2] = {0, 0};
    if (there) {
      const NormSlopes slopes = norm_gradient_load(p, row, threadIdx.x, blockDim.x, own);
      sums[0] = slopes.along;
      sums[1] = slopes.level;
    }
    sum_of_row(sums);
    if (there) {
      norm_gradient_store(p, row, threadIdx.x, blockDim.x, {sums[0], sums[1]}, own);
    }
  }
  float* const out = p.sums + blockIdx.x * (kBias ? 2 : 1) * p.width;
  sum_of_block<kPack>(p.width, own.dweight, shared, out);
  if constexpr (kBias) sum_of_block<kPack>(p.width, own.dbias, shared, out + p.width);
}

// Of kColumns columns of the parts, in a fixed order, rounded once to the weights' type.
template <class Real>
__global__ void __launch_bounds__(kColumns* kColumnThreads)
    norm_columns_kernel(NormGradientProblem<Real> p) {
  __shared__ float shared[kColumnThreads][kColumns];
  const int64_t columns = (p.dbias != nullptr ? 2 : 1) * p.width;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  const bool there = column < columns;
  shared[threadIdx.y][threadIdx.x] =
      there ? norm_column_part(p.sums, p.parts, columns, column, threadIdx.y, kColumnThreads)
            : 0.0f;
  __syncthreads();
  for (unsigned half = kColumnThreads / 2; half > 0; half /= 2) {
    if (threadIdx.y < half) {
      shared[threadIdx.y][threadIdx.x] += shared[threadIdx.y + half][threadIdx.x];
    }
    __syncthreads();
  }
  if (!there || threadIdx.y != 0) return;
  Real& out = column < p.width ? p.dweight[column] : p.dbias[column - p.width];
  parallel::rows::narrow(shared[0][threadIdx.x], out);
}

dim3 threads_of(int64_t width) {
  int of_row = 32;
  while (of_row * kMostElements < width) of_row *= 2;
  return dim3(static_cast<unsigned>(of_row), static_cast<unsigned>(kThreads / of_row));
}

// Elements that a thread holds, of 8, 16, 24 and 32.
int held_elements(int64_t width, const dim3& threads) {
  const int64_t each = (width + threads.x - 1) / threads.x;
  return static_cast<int>((each + 7) / 8 * 8);
}

int64_t blocks_of_rows(int64_t rows, const dim3& threads) {
  return (rows + threads.y - 1) / threads.y;
}

template <int kPack, int kElements, class Real>
void forward(const NormProblem<Real>& p, const dim3& threads, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(blocks_of_rows(p.rows, threads));
  norm_kernel<kPack, kElements><<<blocks, threads, 0, stream>>>(p);
}

template <int kPack, int kElements, class Real>
void backward(const NormGradientProblem<Real>& p, const dim3& threads, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(p.parts);
  if (p.dbias != nullptr) {
    norm_gradient_kernel<kPack, kElements, true><<<blocks, threads, 0, stream>>>(p);
  } else {
    norm_gradient_kernel<kPack, kElements, false><<<blocks, threads, 0, stream>>>(p);
  }
}

template <int kValue>
using Constant = std::integral_constant<int, kValue>;

// Calls with the numbers of a pack and of the elements that a thread holds, as constants.
template <class Real, class Run>
void with_elements(bool packed, int held, const Run& run) {
  constexpr int kPack = kWholePack<Real>;
  if (!packed) {
    run(Constant<1>(), Constant<kMostElements>());
  } else if (held == 8) {
    run(Constant<kPack>(), Constant<8>());
  } else if (held == 16) {
    run(Constant<kPack>(), Constant<16>());
  } else if (held == 24) {
    run(Constant<kPack>(), Constant<24>());
  } else {
    run(Constant<kPack>(), Constant<32>());
  }
}

template <class Real>
int launch_forward(const NormProblem<Real>& p, bool packed, void* on) {
  if (p.rows == 0 || p.width == 0) return cudaSuccess;
  if (p.width > kWidestNorm) return cudaErrorInvalidValue;
  const dim3 threads = threads_of(p.width);
  const auto stream = static_cast<cudaStream_t>(on);
  const auto run = [&](auto pack, auto elements) {
    forward<pack(), elements()>(p, threads, stream);
  };
  with_elements<Real>(packed, held_elements(p.width, threads), run);
  return cudaGetLastError();
}

template <class Real>
int launch_backward(const NormGradientProblem<Real>& p, bool packed, void* on) {
  if (p.rows == 0 || p.width == 0) return cudaSuccess;
  if (p.width > kWidestNorm) return cudaErrorInvalidValue;
  const dim3 threads = threads_of(p.width);
  const auto stream = static_cast<cudaStream_t>(on);
  const auto run = [&](auto pack, auto elements) {
    backward<pack(), elements()>(p, threads, stream);
  };
  with_elements<Real>(packed, held_elements(p.width, threads), run);
  const int result = cudaGetLastError();
  if (result != cudaSuccess) return result;
  const int64_t columns = (p.dbias != nullptr ? 2 : 1) * p.width;
  const auto blocks = static_cast<unsigned>((columns + kColumns - 1) / kColumns);
  norm_columns_kernel<<<blocks, dim3(kColumns, kColumnThreads), 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

int64_t norm_parts(int64_t rows, int64_t width, int processors) {
  const int64_t most = static_cast<int64_t>(kBlocksOfProcessor) * processors;
  const int64_t needed = blocks_of_rows(rows, threads_of(width));
  return needed < most ? needed : most;
}

int launch_norm(const NormProblem<float>& problem, bool packed, void* stream) {
  return launch_forward(problem, packed, stream);
}
int launch_norm(const NormProblem<Bf16>& problem, bool packed, void* stream) {
  return launch_forward(problem, packed, stream);
}
int launch_norm_gradient(const NormGradientProblem<float>& problem, bool packed, void* stream) {
  return launch_backward(problem, packed, stream);
}
int launch_norm_gradient(const NormGradientProblem<Bf16>& problem, bool packed, void* stream) {
  return launch_backward(problem, packed, stream);
}

}  // namespace dagpam::trainer::kernels

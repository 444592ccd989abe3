#include <cuda_runtime.h>

#include "parallel/column_sum_kernel.h"
#include "parallel/column_tiles.cuh"

namespace dagpam::parallel {
namespace {

template <int kPack, class Real>
__global__ void __launch_bounds__(kTileLanes* kTileGroups)
    parts_kernel(ColumnTiles tiles, ColumnSumProblem<Real> problem, float* parts) {
  const TileThread own = own_tile(tiles);
  float sums[kPack] = {};
  if (own.column < problem.width) column_sum_part<kPack>(problem, own, sums);
  write_tile_sums<kPack>(sums, own, problem.width, parts);
}

// A block adds up 32 columns: lanes are columns, its groups take every 32nd part.
constexpr int kSumGroups = 32;

template <class Real>
__global__ void __launch_bounds__(kTileLanes* kSumGroups)
    sums_kernel(const float* parts, int64_t count, int64_t width, bool add, Real* out) {
  __shared__ float of_group[kSumGroups][kTileLanes];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kTileLanes + threadIdx.x;
  float sum = 0;
  if (column < width) {
#pragma unroll 8
    for (int64_t part = threadIdx.y; part < count; part += kSumGroups) {
      sum += parts[part * width + column];
    }
  }
  of_group[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= width) return;
  for (int group = 1; group < kSumGroups; ++group) sum += of_group[group][threadIdx.x];
  rows::narrow(add ? rows::widen(out[column]) + sum : sum, out[column]);
}

template <class Real>
int launch_parts(const ColumnTiles& tiles, const ColumnSumProblem<Real>& problem, float* parts,
                 void* stream) {
  constexpr int kWidest = rows::kWidestPack<Real>;
  if (problem.width == 0) return cudaSuccess;
  const auto on = static_cast<cudaStream_t>(stream);
  if (tiles.pack == kWidest) {
    parts_kernel<kWidest><<<tile_blocks(tiles), tile_threads(), 0, on>>>(tiles, problem, parts);
  } else {
    parts_kernel<1><<<tile_blocks(tiles), tile_threads(), 0, on>>>(tiles, problem, parts);
  }
  return cudaGetLastError();
}

template <class Real>
int launch_sums(const float* parts, int64_t count, int64_t width, bool add, Real* out,
                void* stream) {
  if (width == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((width + kTileLanes - 1) / kTileLanes);
  sums_kernel<<<blocks, dim3(kTileLanes, kSumGroups), 0, static_cast<cudaStream_t>(stream)>>>(
      parts, count, width, add, out);
  return cudaGetLastError();
}

}  // namespace

int launch_column_parts(const ColumnTiles& tiles, const ColumnSumProblem<float>& problem,
                        float* parts, void* stream) {
  return launch_parts(tiles, problem, parts, stream);
}

int launch_column_parts(const ColumnTiles& tiles, const ColumnSumProblem<rows::Bf16>& problem,
                        float* parts, void* stream) {
  return launch_parts(tiles, problem, parts, stream);
}

int launch_column_sums(const float* parts, int64_t count, int64_t width, bool add, float* out,
                       void* stream) {
  return launch_sums(parts, count, width, add, out, stream);
}

int launch_column_sums(const float* parts, int64_t count, int64_t width, bool add, rows::Bf16* out,
                       void* stream) {
  return launch_sums(parts, count, width, add, out, stream);
}

}  // namespace dagpam::parallel

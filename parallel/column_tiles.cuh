// parallel/column_tiles.cuh: the device's half of column_tiles.h. For .cu files.
#pragma once

#include "parallel/column_tiles.h"

namespace dagpam::parallel {

inline dim3 tile_blocks(const ColumnTiles& tiles) {
  return dim3(static_cast<unsigned>(tiles.across), static_cast<unsigned>(tiles.parts));
}
inline dim3 tile_threads() { return dim3(kTileLanes, kTileGroups); }

static __device__ inline TileThread own_tile(const ColumnTiles& tiles) {
  return tile_thread(tiles, blockIdx.x, blockIdx.y, static_cast<int>(threadIdx.x),
                     static_cast<int>(threadIdx.y));
}

// parts [tiles.parts, width] <- the sums of a block's threads over its groups, in their order. All
// threads of the block call, those past the last column too.
template <int kPack>
__device__ inline void write_tile_sums(const float (&sums)[kPack], const TileThread& own,
                                       int64_t width, float* parts) {
  __shared__ float of_group[kTileGroups][kPack]
                           [kTileLanes];  // lanes beside each other: no conflict
  __syncthreads();                        // of an earlier call
  for (int i = 0; i < kPack; ++i) of_group[threadIdx.y][i][threadIdx.x] = sums[i];
  __syncthreads();
  if (own.column >= width) return;
  for (int i = static_cast<int>(threadIdx.y); i < kPack; i += kTileGroups) {
    float sum = 0;
    for (int group = 0; group < kTileGroups; ++group) sum += of_group[group][i][threadIdx.x];
    parts[blockIdx.y * width + own.column + i] = sum;
  }
}

}  // namespace dagpam::parallel

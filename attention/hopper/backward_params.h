// attention/hopper/backward_params.h: what backward's kernels are called with, and their shared
// memory: the ranges of given intervals (forward uses them too), the rows' words, the main kernel,
// the finish.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, T query
// tiles.
#pragma once

#include "attention/hopper/kernel_parts.h"

namespace dagpam::attention::hopper {

// [B or 1, T] ranges of a sight with bounds.
struct RangesParams {
  Sight sight;
  int32_t batches = 1;
  TileRange* ranges = nullptr;
};
constexpr int kRangesThreads = 64;

// d+ = dY . O+ and d- = dY . O- of a tile's rows beside their log-sum-exps and intervals.
struct RowsParams {
  Sight sight;
  int32_t batch = 0, heads = 0;
  const uint16_t* dy = nullptr;  // [B, N, H, D]
  const uint16_t* o = nullptr;   // [2, B, N, H, D]
  const float* lse2 = nullptr;   // [2, B, H, T 64]
  uint32_t* rows = nullptr;      // [B, H, T, kRowWords, 64]
};
constexpr int kRowsThreads = 256;

struct BackwardParams {
  Sight sight;
  int32_t batch = 0, heads = 0, kv_heads = 0;
  const float *plus = nullptr, *minus = nullptr;  // l+, l- [H] or [1]
  int32_t lambda_stride = 0;                      // 1 or 0
  float scale = 0, scale2 = 0;                    // D^-0.5; the same by log2 e
  const uint32_t* rows = nullptr;                 // [B, H, T, kRowWords, 64], see tile.h
  float* dq = nullptr;                            // [2, B, H, T, D / 64, 4096], 0 before (dq_chunk)
  int32_t* turns = nullptr;                       // [B, H, T, 2], 0 before; nullptr: in any order
  uint16_t *dk = nullptr, *dv = nullptr;          // [B, M, Hkv, D]

  DAGPAM_BOTH Factors factors(int32_t h) const {
    return factors_of(plus[h * lambda_stride], minus[h * lambda_stride]);
  }
};

// 64 x 64 numbers of dQ+ (map 0) or dQ- (1) in the order in which a warpgroup holds them: element i
// of thread t at (i / 4) 512 + 4 t + i mod 4. `tile` counts [B, H, T].
DAGPAM_BOTH int64_t dq_chunk(int map, int64_t tile, int64_t tile_count, int block, int width) {
  const int64_t blocks = width / kColumnBlock;
  return ((map * tile_count + tile) * blocks + block) * (kQueryTile * kColumnBlock);
}

template <class TensorMap>
struct BackwardMaps {
  TensorMap q, q_neg, dy;  // boxes of 64 rows and 64 columns
  TensorMap k, v;          // of 128 rows
};

template <int D>
struct BackwardShared {
  static constexpr int kStages = D == 64 ? 3 : 2;
  static constexpr uint32_t kTile = tile_bytes(kQueryTile, D);
  static constexpr uint32_t kKeys = 0, kValues = tile_bytes(kKeyTile, D);
  static constexpr uint32_t kQueries = 2 * tile_bytes(kKeyTile, D);       // Q, Q-, dY a stage
  static constexpr uint32_t kGradients = kQueries + kStages * 3 * kTile;  // dS+, dS-
  static constexpr uint32_t kGradient = tile_bytes(kKeyTile, kQueryTile);
  static constexpr uint32_t kRowBytes = kRowWords * kQueryTile * 4;
  static constexpr uint32_t kVisit = kRowBytes + 32;  // the rows' words, then the visit's
  static constexpr uint32_t kVisits = kGradients + 2 * kGradient;
  static constexpr uint32_t kBarriers = kVisits + kStages * kVisit;
  // 64 x 64 sums of dQ on their way, for each consumer, where there is room for them.
  static constexpr uint32_t kChunkBytes = kQueryTile * kColumnBlock * 4;
  static constexpr uint32_t kSums = (kBarriers + 8 * (1 + 2 * kStages) + 127) / 128 * 128;
  static constexpr uint32_t kBytes = kSums + (D == 64 ? 2 * kChunkBytes : 0);
};

// Where Q- was given: dQ and dQ- as tensors. Where it was formed (through_map): dQ = dQ+ +
// (dQ- W_neg^T) where Q > 0, and what each run of kFinishRun tiles adds to dW_neg.
struct FinishParams {
  int32_t batch = 0, queries = 0, heads = 0;
  float scale = 0;            // D^-0.5
  const float* dq = nullptr;  // of BackwardParams
  bool through_map = false;
  uint16_t* dq_out = nullptr;      // [B, N, H, D]
  uint16_t* dq_neg_out = nullptr;  // [B, N, H, D], where Q- was given
  float* dw_runs = nullptr;        // [B, finish_runs(N), H, D, D], where through_map
};

template <class TensorMap>
struct FinishMaps {
  TensorMap q;      // boxes of 64 rows and 64 columns
  TensorMap w_neg;  // [D][D] of each head, D rows
};

template <int D>
struct FinishShared {
  static constexpr int kThreads = D / kColumnBlock * kWarpgroup;
  static constexpr uint32_t kTile = tile_bytes(kQueryTile, D);
  static constexpr uint32_t kSums = 2 * kTile;                  // dQ+ or dQ- in float32
  static constexpr uint32_t kStage = kTile + 2 * kSums;         // Q, dQ+, dQ- of a tile
  static constexpr uint32_t kStages = tile_bytes(D, D);         // two, behind W_neg
  static constexpr uint32_t kGradients = kStages + 2 * kStage;  // dQ- rounded
  static constexpr uint32_t kBarriers = kGradients + kTile;     // of the two stages, of W_neg
  static constexpr uint32_t kBytes = kBarriers + 3 * 8;
};

}  // namespace dagpam::attention::hopper

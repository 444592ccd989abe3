// attention/hopper/side_kernels.h: what backward needs before and after its main kernel, and the
// ranges of given intervals. Written for a machine as kernel_parts.h has it.
//
// Legend: B batch, N queries, M keys, H query heads, D head width, T query tiles.
#pragma once

#include "attention/hopper/backward_params.h"

namespace dagpam::attention::hopper {

// One thread a tile.
template <class M>
DAGPAM_DEVICE void find_ranges(const RangesParams& p) {
  const auto count = static_cast<int32_t>(tiles(p.sight.queries, kQueryTile));
  const int32_t at = static_cast<int32_t>(M::block_x()) * kRangesThreads + M::thread();
  if (at >= p.batches * count) return;
  const int32_t first = at % count * kQueryTile;
  TileRange range{INT32_MAX, 0, 0, INT32_MAX};
  for (int32_t n = first; n < min_of(first + kQueryTile, p.sight.queries); ++n) {
    widen(range, p.sight.row(at / count, n));
  }
  p.ranges[at] = range;
}

// What one access of 16 or 8 bytes moves.
struct alignas(16) EightNumbers {
  uint32_t pairs[4];
};
struct alignas(8) FloatPair {
  float low, high;
};

template <class M, class T>
DAGPAM_DEVICE float dot_of_lane(const EightNumbers& a, const EightNumbers& b) {
  float sum = 0;
  DAGPAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    sum += M::template low<T>(a.pairs[i]) * M::template low<T>(b.pairs[i]);
    sum += M::template high<T>(a.pairs[i]) * M::template high<T>(b.pairs[i]);
  }
  return sum;
}

// A block takes a tile, a warp 8 of its rows, D / 8 lanes a row.
template <class M, class T, int D>
DAGPAM_DEVICE void prepare_rows(const RowsParams& p) {
  constexpr int kLanes = D / 8, kAtOnce = 32 / kLanes, kTurns = 8 / kAtOnce;
  const auto tile = static_cast<int32_t>(M::block_x()), head = static_cast<int32_t>(M::block_y());
  const auto batch = static_cast<int32_t>(M::block_z());
  const int64_t tile_count = tiles(p.sight.queries, kQueryTile);
  const int64_t heads = static_cast<int64_t>(p.batch) * p.heads;
  const int64_t own_head = static_cast<int64_t>(batch) * p.heads + head;
  const int64_t numbers = static_cast<int64_t>(p.batch) * p.sight.queries * p.heads * D;
  uint32_t* const words = p.rows + (own_head * tile_count + tile) * (kRowWords * kQueryTile);
  const int lane = M::thread() % kLanes;
  const int first = M::thread() / 32 * 8 + M::thread() % 32 / kLanes;
  EightNumbers dy[kTurns], plus[kTurns],
      minus[kTurns];  // all on their way before the first is used
  DAGPAM_UNROLL
  for (int i = 0; i < kTurns; ++i) {
    const int32_t n = tile * kQueryTile + first + i * kAtOnce;
    dy[i] = plus[i] = minus[i] = {};
    if (n >= p.sight.queries) continue;
    const int64_t at =
        ((static_cast<int64_t>(batch) * p.sight.queries + n) * p.heads + head) * D + lane * 8;
    dy[i] = *reinterpret_cast<const EightNumbers*>(p.dy + at);
    plus[i] = *reinterpret_cast<const EightNumbers*>(p.o + at);
    minus[i] = *reinterpret_cast<const EightNumbers*>(p.o + numbers + at);
  }
  DAGPAM_UNROLL
  for (int i = 0; i < kTurns; ++i) {
    const int r = first + i * kAtOnce;
    const int32_t n = tile * kQueryTile + r;
    float of_plus = dot_of_lane<M, T>(dy[i], plus[i]);
    float of_minus = dot_of_lane<M, T>(dy[i], minus[i]);
    DAGPAM_UNROLL
    for (int apart = kLanes / 2; apart > 0; apart /= 2) {
      of_plus += M::shuffle_xor(of_plus, apart);
      of_minus += M::shuffle_xor(of_minus, apart);
    }
    if (lane != 0) continue;
    const bool exists = n < p.sight.queries;
    const float* const lse2 = p.lse2 + own_head * tile_count * kQueryTile + n;
    const Interval seen = p.sight.row(batch, n);
    words[kLsePlus * kQueryTile + r] = exists ? M::bits(lse2[0]) : 0;
    words[kLseMinus * kQueryTile + r] = exists ? M::bits(lse2[heads * tile_count * kQueryTile]) : 0;
    words[kDotPlus * kQueryTile + r] = M::bits(of_plus);
    words[kDotMinus * kQueryTile + r] = M::bits(of_minus);
    words[kFirstKey * kQueryTile + r] = static_cast<uint32_t>(seen.first);
    words[kLastKey * kQueryTile + r] = static_cast<uint32_t>(seen.last);
  }
}

// A block takes a run of tiles of a head, a warpgroup of it 64 columns.
template <class M, class T, int D>
class FinishBlock {
 public:
  DAGPAM_DEVICE FinishBlock(const FinishMaps<typename M::TensorMap>& maps,
                            const FinishParams& params)
      : maps_(maps), p_(params), base_(M::shared_base()) {
    first_ = static_cast<int32_t>(M::block_x()) * kFinishRun;
    const auto count = static_cast<int32_t>(tiles(p_.queries, kQueryTile));
    last_ = min_of(first_ + kFinishRun, count);
    head_ = static_cast<int32_t>(M::block_y());
    batch_ = static_cast<int32_t>(M::block_z());
  }

  DAGPAM_DEVICE void run() const {
    if (M::thread() == 0) {
      for (int i = 0; i < 3; ++i) M::barrier_init(barrier(i), 1);
      M::fence_barriers();
      if (p_.through_map) {
        M::barrier_expect(barrier(2), tile_bytes(D, D));
        load_rows_of<M, D>(maps_.w_neg, base_, barrier(2), D, 0, head_, 0);
      }
      load(first_);
    }
    M::sync_block();
    float dw[D / 2];  // of dW_neg: the rows of this warpgroup's columns of Q
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) dw[i] = 0;
    if (p_.through_map) M::barrier_wait(barrier(2), 0);
    DAGPAM_NO_UNROLL
    for (int32_t tile = first_; tile < last_; ++tile) {
      M::named_sync(kFree, Shared::kThreads);  // all have read the last tile's buffers
      if (M::thread() == 0 && tile + 1 < last_) load(tile + 1);
      M::barrier_wait(barrier((tile - first_) % 2), static_cast<uint32_t>((tile - first_) / 2 % 2));
      if (p_.through_map) {
        map_back(tile, dw);
      } else {
        float x[32];
        load_sums(tile, 0, x);
        store(x, p_.dq_out, tile);
        load_sums(tile, 1, x);
        store(x, p_.dq_neg_out, tile);
      }
    }
    if (p_.through_map) store_map_gradient(dw);
  }

 private:
  using Shared = FinishShared<D>;

  DAGPAM_DEVICE static int own() { return M::warpgroup(); }  // which block of 64 columns
  DAGPAM_DEVICE static int place() { return M::thread() % kWarpgroup; }
  DAGPAM_DEVICE uint32_t barrier(int which) const {
    return base_ + Shared::kBarriers + static_cast<uint32_t>(which) * 8;
  }
  DAGPAM_DEVICE uint32_t stage(int32_t tile) const {
    return base_ + Shared::kStages + static_cast<uint32_t>((tile - first_) % 2) * Shared::kStage;
  }

  DAGPAM_DEVICE void load(int32_t tile) const {
    const uint32_t full = barrier((tile - first_) % 2), to = stage(tile);
    M::barrier_expect(full, p_.through_map ? Shared::kStage : 2 * Shared::kSums);
    if (p_.through_map) {
      load_rows_of<M, D>(maps_.q, to, full, kQueryTile, tile * kQueryTile, head_, batch_);
    }
    const int64_t tile_count = tiles(p_.queries, kQueryTile);
    const int64_t heads = static_cast<int64_t>(p_.batch) * p_.heads;
    const int64_t at = (static_cast<int64_t>(batch_) * p_.heads + head_) * tile_count + tile;
    for (int map = 0; map < 2; ++map) {
      M::load_bytes(to + Shared::kTile + static_cast<uint32_t>(map) * Shared::kSums,
                    p_.dq + dq_chunk(map, at, heads * tile_count, 0, D), Shared::kSums, full);
    }
  }

  // This warpgroup's columns of dQ+ (0) or dQ- (1).
  DAGPAM_DEVICE void load_sums(int32_t tile, int map, float (&x)[32]) const {
    const uint32_t from = stage(tile) + Shared::kTile + static_cast<uint32_t>(map) * Shared::kSums +
                          static_cast<uint32_t>(own()) * (kQueryTile * kColumnBlock * 4) +
                          static_cast<uint32_t>(place()) * 16;
    DAGPAM_UNROLL
    for (int i = 0; i < 32; i += 4) {
      float four[4];
      M::load_four(from + static_cast<uint32_t>(i) * 512, four);
      DAGPAM_UNROLL
      for (int j = 0; j < 4; ++j) x[i + j] = four[j] * p_.scale;
    }
  }

  // dQ = dQ+ + (dQ- W_neg^T) where Q > 0, and dW_neg += ReLU(Q)^T dQ-.
  DAGPAM_DEVICE void map_back(int32_t tile, float (&dw)[D / 2]) const {
    const int t = place();
    const uint32_t gradients = base_ + Shared::kGradients, q = stage(tile);
    const uint32_t own_block = static_cast<uint32_t>(own()) * block_bytes(kQueryTile);
    float x[32], through[32];
    load_sums(tile, 1, x);
    uint32_t positive = 0;  // a bit a number: Q > 0
    DAGPAM_UNROLL
    for (int i = 0; i < 32; i += 2) {
      const uint32_t at = own_block + swizzled(fragment_row(t, i), fragment_column(t, i));
      M::store(gradients + at, M::template pack<T>(x[i], x[i + 1]));
      const uint32_t pair = M::load_word(q + at);
      positive |= (M::template low<T>(pair) > 0 ? 1U : 0U) << i;
      positive |= (M::template high<T>(pair) > 0 ? 2U : 0U) << i;
      M::store(q + at, M::relu(pair));
    }
    M::fence_async();
    M::named_sync(kReady, Shared::kThreads);
    M::open(through);
    M::open(dw);
    DAGPAM_UNROLL
    for (int step = 0; step < D / 16; ++step) {
      // W_neg^T: the inner dimension is W_neg's columns.
      M::template product<T, false, false>(through, along_columns(gradients, kQueryTile, 0, step),
                                           along_columns(base_, D, own() * kColumnBlock, step),
                                           step > 0);
    }
    DAGPAM_UNROLL
    for (int step = 0; step < kQueryTile / 16; ++step) {
      M::template product<T, true, true>(dw, along_rows(q, kQueryTile, own(), step),
                                         along_rows(gradients, kQueryTile, 0, step), true);
    }
    M::commit();
    load_sums(tile, 0, x);
    M::template wait<0>(through);
    M::pin(dw);
    DAGPAM_UNROLL
    for (int i = 0; i < 32; ++i) x[i] += (positive >> i & 1U) != 0 ? through[i] : 0;
    store(x, p_.dq_out, tile);
  }

  DAGPAM_DEVICE void store_map_gradient(const float (&dw)[D / 2]) const {
    const int64_t run = batch_ * finish_runs(p_.queries) + first_ / kFinishRun;
    float* const to = p_.dw_runs + ((run * p_.heads + head_) * D + own() * kColumnBlock) * D;
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; i += 2) {
      *reinterpret_cast<FloatPair*>(to + fragment_row(place(), i) * D +
                                    fragment_column(place(), i)) = {dw[i], dw[i + 1]};
    }
  }

  DAGPAM_DEVICE void store(const float (&x)[32], uint16_t* to, int32_t tile) const {
    const int64_t row = static_cast<int64_t>(batch_) * p_.queries + tile * kQueryTile;
    store_accumulator<M, T>(x, 1.0F, to + (row * p_.heads + head_) * D + own() * kColumnBlock,
                            static_cast<int64_t>(p_.heads) * D,
                            min_of(kQueryTile, p_.queries - tile * kQueryTile));
  }

  const FinishMaps<typename M::TensorMap>& maps_;
  const FinishParams& p_;
  uint32_t base_;
  int32_t first_, last_, head_, batch_;
};

}  // namespace dagpam::attention::hopper

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

// 8 numbers of a row, 16 bytes.
struct alignas(16) EightNumbers {
  uint32_t pairs[4];
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
  EightNumbers dy[kTurns], plus[kTurns], minus[kTurns];  // all on their way before the first is used
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

// A block of one warpgroup takes a tile.
template <class M, class T, int D>
class FinishBlock {
 public:
  DAGPAM_DEVICE FinishBlock(const typename M::TensorMap& w_neg, const FinishParams& params)
      : w_neg_(w_neg), p_(params) {
    tile_ = static_cast<int32_t>(M::block_x());
    head_ = static_cast<int32_t>(M::block_y());
    batch_ = static_cast<int32_t>(M::block_z());
  }

  DAGPAM_DEVICE void run() const {
    float through[D / 2];
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) through[i] = 0;
    const uint32_t base = M::shared_base(), barrier = base + FinishShared<D>::kBarrier;
    if (p_.through_map) {
      if (M::thread() == 0) {
        M::barrier_init(barrier, 1);
        M::fence_barriers();
        M::barrier_expect(barrier, tile_bytes(D, D));
        load_rows_of<M, D>(w_neg_, base, barrier, D, 0, head_, 0);
      }
      M::sync_block();
      M::barrier_wait(barrier, 0);
    }
    DAGPAM_UNROLL
    for (int block = 0; block < D / kColumnBlock; ++block) {
      float x[32];
      load_chunk(1, block, x);
      store(x, p_.dq_neg_out, block);
      if (!p_.through_map) continue;
      uint32_t fragments[16];
      DAGPAM_UNROLL
      for (int step = 0; step < 4; ++step) fragment_of<M, T>(x + step * 8, fragments + step * 4);
      M::pin(fragments);
      M::open(through);
      DAGPAM_UNROLL
      for (int step = 0; step < 4; ++step) {
        // W_neg^T: the inner dimension is W_neg's columns.
        M::template product_columns<T>(through, fragments + step * 4,
                                       along_columns(base, D, 0, block * 4 + step), true);
      }
      M::commit();
      M::template wait<0>(through);
    }
    DAGPAM_UNROLL
    for (int block = 0; block < D / kColumnBlock; ++block) {
      float x[32];
      load_chunk(0, block, x);
      if (p_.through_map) add_where_positive(x, through + block * 32, block);
      store(x, p_.dq_out, block);
    }
  }

 private:
  DAGPAM_DEVICE int32_t rows() const { return min_of(kQueryTile, p_.queries - tile_ * kQueryTile); }

  DAGPAM_DEVICE void load_chunk(int map, int block, float (&x)[32]) const {
    const int64_t tile_count = tiles(p_.queries, kQueryTile);
    const int64_t heads = static_cast<int64_t>(p_.batch) * p_.heads;
    const int64_t tile = (static_cast<int64_t>(batch_) * p_.heads + head_) * tile_count + tile_;
    const float* const from =
        p_.dq + dq_chunk(map, tile, heads * tile_count, block, D) + M::thread() * 4;
    DAGPAM_UNROLL
    for (int i = 0; i < 32; ++i) x[i] = from[i / 4 * 512 + i % 4] * p_.scale;
  }

  DAGPAM_DEVICE void store(const float (&x)[32], uint16_t* to, int block) const {
    const int64_t row = static_cast<int64_t>(batch_) * p_.queries + tile_ * kQueryTile;
    store_accumulator<M, T>(x, 1.0F, to + (row * p_.heads + head_) * D + block * kColumnBlock,
                            static_cast<int64_t>(p_.heads) * D, rows());
  }

  DAGPAM_DEVICE void add_where_positive(float (&x)[32], const float* through, int block) const {
    const int t = M::thread();
    const uint16_t* const q = p_.q + batch_ * p_.q_batch + head_ * p_.q_head + block * kColumnBlock;
    DAGPAM_UNROLL
    for (int i = 0; i < 32; i += 2) {
      if (fragment_row(t, i) >= rows()) continue;
      const int64_t row = static_cast<int64_t>(tile_) * kQueryTile + fragment_row(t, i);
      const uint32_t pair =
          *reinterpret_cast<const uint32_t*>(q + row * p_.q_row + fragment_column(t, i));
      x[i] += M::template low<T>(pair) > 0 ? through[i] : 0;
      x[i + 1] += M::template high<T>(pair) > 0 ? through[i + 1] : 0;
    }
  }

  const typename M::TensorMap& w_neg_;
  const FinishParams& p_;
  int32_t tile_, head_, batch_;
};

}  // namespace dagpam::attention::hopper

// attention/hopper/forward_parts.h: which tiles a block of forward takes, and what its consumers do
// to scores and answers. For forward_kernel.h.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, T query
// tiles.
#pragma once

#include "attention/hopper/forward_params.h"

namespace dagpam::attention::hopper {

template <class M, class T, int D>
class ForwardParts {
 public:
  using Maps = ForwardMaps<typename M::TensorMap>;

  DAGPAM_DEVICE ForwardParts(const Maps& maps, const ForwardParams& params)
      : maps_(maps), p_(params), base_(M::shared_base()) {
    keys_ = {base_ + Shared::kKeys, tile_bytes(kKeyTile, D), barriers() + 8,
             barriers() + 8 + 8 * kStages};
    values_ = {base_ + Shared::kValues, tile_bytes(kKeyTile, D), barriers() + 8 + 16 * kStages,
               barriers() + 8 + 24 * kStages};
  }

 protected:
  using Shared = ForwardShared<D>;
  static constexpr int kStages = Shared::kStages;

  DAGPAM_DEVICE uint32_t barriers() const { return base_ + Shared::kBarriers; }

  DAGPAM_DEVICE int32_t own(int32_t round) const {
    return static_cast<int32_t>(M::block_x()) + round * p_.blocks;
  }
  DAGPAM_DEVICE bool has(int32_t round) const {
    const auto tile_count = static_cast<int32_t>(tiles(p_.sight.queries, kQueryTile));
    return own(round) < p_.batch * p_.heads * tile_count;
  }

  // The block's `round`th tile, or false behind its last one. Section after section of heads; in
  // each the longest tiles first: those at the end, where the order is causal.
  DAGPAM_DEVICE bool take(int32_t round) {
    if (!has(round)) return false;
    const auto tile_count = static_cast<int32_t>(tiles(p_.sight.queries, kQueryTile));
    const int32_t all = p_.batch * p_.heads, at = own(round);
    const int32_t first = at / (p_.section * tile_count) * p_.section;
    const int32_t count = min_of(p_.section, all - first);
    const int32_t within = at - first * tile_count, head = first + within % count;
    head_ = head % p_.heads;
    batch_ = head / p_.heads;
    tile_ = tile_count - 1 - within / count;
    const TileRange range = p_.sight.tile(batch_, tile_);
    first_ = range.first_tile();
    last_ = range.last_tile();
    seen_by_all_ = {range.all_first, range.all_last};
    return true;
  }

  // Of a number of a [64][D] tile, in bytes.
  DAGPAM_DEVICE static uint32_t place(int row, int column) {
    return static_cast<uint32_t>(column / kColumnBlock) * block_bytes(kQueryTile) +
           swizzled(row, column % kColumnBlock);
  }

  DAGPAM_DEVICE int64_t stride() const { return static_cast<int64_t>(p_.heads) * D; }
  DAGPAM_DEVICE int32_t query_rows() const {
    return min_of(kQueryTile, p_.sight.queries - tile_ * kQueryTile);
  }
  DAGPAM_DEVICE uint16_t* rows_of(uint16_t* x) const {
    const int64_t row = static_cast<int64_t>(batch_) * p_.sight.queries + tile_ * kQueryTile;
    return x + (row * p_.heads + head_) * D;
  }

  struct Rows {
    float greatest[2], sum[2];
    Interval seen[2];
  };

  DAGPAM_DEVICE void scores(float (&s)[64], uint32_t queries, uint32_t keys) const {
    DAGPAM_UNROLL
    for (int step = 0; step < D / 16; ++step) {
      M::template product<T, false, false>(s, along_columns(queries, kQueryTile, 0, step),
                                           along_columns(keys, kKeyTile, 0, step), step > 0);
    }
  }

  DAGPAM_DEVICE void add_values(float (&o)[D / 2], const uint32_t (&p)[32], uint32_t values) const {
    DAGPAM_UNROLL
    for (int step = 0; step < kKeyTile / 16; ++step) {
      M::template product_rows<T>(o, p + step * 4, along_rows(values, kKeyTile, 0, step), true);
    }
  }

  DAGPAM_DEVICE void mask(float (&s)[64], int32_t key, const Rows& rows) const {
    if (seen_by_all_.first <= key && seen_by_all_.last >= key + kKeyTile) return;
    const int t = M::thread() % kWarpgroup;
    DAGPAM_UNROLL
    for (int i = 0; i < 64; ++i) {
      const int32_t at = key + fragment_column(t, i);
      const Interval& seen = rows.seen[i / 2 % 2];
      s[i] = at >= seen.first && at < seen.last ? s[i] : -M::infinity();
    }
  }

  // The rows' new maxima; in `shrink` what the sums so far are to be multiplied by.
  DAGPAM_DEVICE void raise(const float (&s)[64], Rows& rows, float (&shrink)[2]) const {
    DAGPAM_UNROLL
    for (int half = 0; half < 2; ++half) {
      const float before = rows.greatest[half];
      float greatest = before;
      DAGPAM_UNROLL
      for (int i = half * 2; i < 64; i += 4) {
        greatest = M::max(greatest, M::max(s[i], s[i + 1]));
      }
      greatest = M::max(greatest, M::shuffle_xor(greatest, 1));
      greatest = M::max(greatest, M::shuffle_xor(greatest, 2));
      rows.greatest[half] = greatest;
      shrink[half] = M::exp2(before * p_.scale2 - shift(greatest));
      rows.sum[half] *= shrink[half];
    }
  }

  DAGPAM_DEVICE float shift(float greatest) const {
    return greatest == -M::infinity() ? 0 : greatest * p_.scale2;
  }

  // S to P, and its rows' sums.
  DAGPAM_DEVICE void soften(float (&s)[64], Rows& rows) const {
    const float shifts[2] = {shift(rows.greatest[0]), shift(rows.greatest[1])};
    DAGPAM_UNROLL
    for (int i = 0; i < 64; ++i) {
      s[i] = M::exp2(s[i] * p_.scale2 - shifts[i / 2 % 2]);
      rows.sum[i / 2 % 2] += s[i];
    }
  }

  DAGPAM_DEVICE static void round_weights(const float (&s)[64], uint32_t (&p)[32]) {
    DAGPAM_UNROLL
    for (int step = 0; step < kKeyTile / 16; ++step) fragment_of<M, T>(s + step * 8, p + step * 4);
  }

  DAGPAM_DEVICE void finish(int who, float (&o)[D / 2], Rows& rows, int32_t round) const {
    const int t = M::thread() % kWarpgroup;
    float factor[2];
    DAGPAM_UNROLL
    for (int half = 0; half < 2; ++half) {
      float sum = rows.sum[half];
      sum += M::shuffle_xor(sum, 1);
      sum += M::shuffle_xor(sum, 2);
      factor[half] = sum > 0 ? 1 / sum : 0;
      const float lse2 = sum > 0 ? rows.greatest[half] * p_.scale2 + M::log2(sum) : 0;
      if (p_.lse2 != nullptr && t % 4 == 0) {
        const int64_t heads = static_cast<int64_t>(p_.batch) * p_.heads;
        const int64_t head = who * heads + static_cast<int64_t>(batch_) * p_.heads + head_;
        const int64_t padded = tiles(p_.sight.queries, kQueryTile) * kQueryTile;
        p_.lse2[head * padded + tile_ * kQueryTile + fragment_row(t, half * 2)] = lse2;
      }
    }
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) o[i] *= factor[i / 2 % 2];
    const Factors c = p_.factors(head_);
    if (p_.o != nullptr) {
      const int64_t size = p_.batch * p_.sight.queries * stride();
      store_accumulator<M, T>(o, 1.0F, rows_of(p_.o + who * size), stride(), query_rows());
    }
    const uint32_t own = base_ + Shared::kHandedOver + static_cast<uint32_t>(t) * 4;
    if (who == 1) {
      if (round > 0) M::named_sync(kFree, 2 * kWarpgroup);  // that has been read
      DAGPAM_UNROLL
      for (int i = 0; i < D / 2; ++i) M::store(own + static_cast<uint32_t>(i) * 512, o[i]);
      M::named_arrive(kHandOver, 2 * kWarpgroup);
      return;
    }
    M::named_sync(kHandOver, 2 * kWarpgroup);
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) {
      o[i] = c.plus * o[i] + c.minus * M::load_float(own + static_cast<uint32_t>(i) * 512);
    }
    if (has(round + 1)) M::named_arrive(kFree, 2 * kWarpgroup);
    store_accumulator<M, T>(o, 1.0F, rows_of(p_.y), stride(), query_rows());
  }

  const Maps& maps_;
  const ForwardParams& p_;
  uint32_t base_;
  int32_t head_, batch_, tile_, first_, last_;
  Interval seen_by_all_;
  Ring<kStages> keys_, values_;
};

}  // namespace dagpam::attention::hopper

// attention/hopper/forward_kernel.h: forward of both maps over one stream of keys and values.
//
// A block takes 64 queries of one head, and when it is done with them the next ones that are its
// own, whose queries and keys are on their way by then. Consumer 0 carries them through the keys
// with Q, consumer 1 with Q-; both read the same K and V buffers, which the producer fills ahead.
// Each consumer gives the tensor cores the next S and the last P V together and softens while the
// other one's products run: they take turns. At the end consumer 1 hands O- over in float32,
// consumer 0 writes Y.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, T query
// tiles.
#pragma once

#include "attention/hopper/forward_params.h"

namespace dagpam::attention::hopper {

template <class M, class T, int D>
class ForwardBlock {
 public:
  using Maps = ForwardMaps<typename M::TensorMap>;

  DAGPAM_DEVICE ForwardBlock(const Maps& maps, const ForwardParams& params)
      : maps_(maps), p_(params), base_(M::shared_base()) {
    keys_ = {base_ + Shared::kKeys, tile_bytes(kKeyTile, D), barriers() + 8,
             barriers() + 8 + 8 * kStages};
    values_ = {base_ + Shared::kValues, tile_bytes(kKeyTile, D), barriers() + 8 + 16 * kStages,
               barriers() + 8 + 24 * kStages};
  }

  DAGPAM_DEVICE void run() {
    if (M::thread() == 0) {
      M::barrier_init(barriers(), 1);
      M::barrier_init(queries_read(), kConsumerWarps);
      keys_.template init<M>();
      values_.template init<M>();
      M::fence_barriers();
    }
    M::sync_block();
    const int warpgroup = M::warpgroup();
    if (warpgroup == 0) {
      M::template fewer_registers<kProducerRegisters>();
      if (M::thread() == 0) produce();
    } else {
      M::template more_registers<kConsumerRegisters>();
      consume(warpgroup - 1);
    }
  }

 private:
  using Shared = ForwardShared<D>;
  static constexpr int kStages = Shared::kStages;

  DAGPAM_DEVICE uint32_t barriers() const { return base_ + Shared::kBarriers; }
  DAGPAM_DEVICE uint32_t queries_read() const { return barriers() + 8 + 32 * kStages; }

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

  DAGPAM_DEVICE void produce() {
    uint32_t keys = 0, values = 0;
    DAGPAM_NO_UNROLL
    for (int32_t round = 0; take(round); ++round) {
      M::barrier_wait(queries_read(), static_cast<uint32_t>(round % 2) ^ 1);
      load(keys, values);
    }
  }

  // `keys` and `filled` count fillings of the rings.
  DAGPAM_DEVICE void load(uint32_t& keys, uint32_t& filled) const {
    const int32_t row = tile_ * kQueryTile, kv = head_ / p_.group;
    constexpr uint32_t kRows = tile_bytes(kQueryTile, D);
    M::barrier_expect(barriers(), p_.forms_q_neg ? kRows : 2 * kRows);
    load_rows_of<M, D>(maps_.q, base_ + Shared::kQ, barriers(), kQueryTile, row, head_, batch_);
    if (p_.forms_q_neg) {
      // W_neg passes through a buffer of values.
      values_.template open<M>(filled, tile_bytes(D, D));
      load_rows_of<M, D>(maps_.w_neg, values_.buffer(filled), values_.full_at(filled), D, 0, head_,
                         0);
      ++filled;
    } else {
      load_rows_of<M, D>(maps_.q_neg, base_ + Shared::kQNeg, barriers(), kQueryTile, row, head_,
                         batch_);
    }
    DAGPAM_NO_UNROLL
    for (int32_t tile = first_; tile < last_; ++tile, ++keys, ++filled) {
      keys_.template open<M>(keys, tile_bytes(kKeyTile, D));
      load_rows_of<M, D>(maps_.k, keys_.buffer(keys), keys_.full_at(keys), kKeyTile,
                         tile * kKeyTile, kv, batch_);
      values_.template open<M>(filled, tile_bytes(kKeyTile, D));
      load_rows_of<M, D>(maps_.v, values_.buffer(filled), values_.full_at(filled), kKeyTile,
                         tile * kKeyTile, kv, batch_);
    }
  }

  // Q- = ReLU(Q) W_neg, rounded, to its tile in shared memory (and out). W_neg is the `map`th
  // filling of the ring of values.
  DAGPAM_DEVICE void form_q_neg(uint32_t map) const {
    const int t = M::anew(M::thread() % kWarpgroup);
    float x[D / 2];
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) x[i] = 0;
    values_.template await<M>(map);
    uint32_t a[D / 4];
    DAGPAM_UNROLL
    for (int step = 0; step < D / 16; ++step) {
      DAGPAM_UNROLL
      for (int r = 0; r < 4; ++r) {
        const int row = fragment_row(t, 2 * r), column = step * 16 + fragment_column(t, 2 * r);
        a[step * 4 + r] = M::relu(M::load_word(base_ + Shared::kQ + place(row, column)));
      }
    }
    M::pin(a);
    M::open(x);
    DAGPAM_UNROLL
    for (int step = 0; step < D / 16; ++step) {
      M::template product_rows<T>(x, a + step * 4, along_rows(values_.buffer(map), D, 0, step),
                                  true);
    }
    M::commit();
    M::template wait<0>(x);
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; i += 2) {
      M::store(base_ + Shared::kQNeg + place(fragment_row(t, i), fragment_column(t, i)),
               M::template pack<T>(x[i], x[i + 1]));
    }
    M::fence_async();
    M::named_sync(kAlone, kWarpgroup);
    if (p_.q_neg != nullptr)
      store_accumulator<M, T>(x, 1.0F, rows_of(p_.q_neg), stride(), query_rows());
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

  DAGPAM_DEVICE void consume(int who) {
    uint32_t keys_read = 0, values_read = 0;
    DAGPAM_NO_UNROLL
    for (int32_t round = 0; take(round); ++round) {
      M::barrier_wait(barriers(), static_cast<uint32_t>(round % 2));
      attend(who, keys_read, values_read, round);
    }
  }

  DAGPAM_DEVICE void attend(int who, uint32_t& keys_read, uint32_t& values_read,
                            int32_t round) const {
    const uint32_t queries = base_ + (who == 0 ? Shared::kQ : Shared::kQNeg);
    if (p_.forms_q_neg) {
      if (who == 1) form_q_neg(values_read);
      values_.template release<M>(values_read++);
    }
    float o[D / 2];
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) o[i] = 0;
    Rows rows{{-M::infinity(), -M::infinity()}, {0, 0}, {}};
    const int row = tile_ * kQueryTile + fragment_row(M::thread() % kWarpgroup, 0);
    rows.seen[0] = p_.sight.row(batch_, row);
    rows.seen[1] = p_.sight.row(batch_, row + 8);
    if (first_ < last_) {
      walk(who, queries, keys_read, values_read, o, rows);
    } else {
      release_queries();
    }
    finish(who, o, rows, round);
  }

  DAGPAM_DEVICE void release_queries() const {
    M::sync_warp();
    if (M::thread() % 32 == 0) M::barrier_arrive(queries_read());
  }

  // The first tile's scores alone, then the next tile's with the last one's values, then the last
  // values alone: with no branch between products the assembler need not serialise them.
  DAGPAM_DEVICE void walk(int who, uint32_t queries, uint32_t& keys_read, uint32_t& values_read,
                          float (&o)[D / 2], Rows& rows) const {
    const int own_turn = who == 0 ? kTurn : kTurnOfOther;
    const int other_turn = who == 0 ? kTurnOfOther : kTurn;
    float s[64], shrink[2];
    uint32_t p[32];
    if (who == 1) M::named_arrive(kTurn, 2 * kWarpgroup);
    keys_.template await<M>(keys_read);
    M::named_sync(own_turn, 2 * kWarpgroup);
    M::open(s);
    scores(s, queries, keys_.buffer(keys_read));
    M::commit();
    if (who == 0 || first_ + 1 < last_) M::named_arrive(other_turn, 2 * kWarpgroup);
    M::template wait<0>(s);
    keys_.template release<M>(keys_read++);
    mask(s, first_ * kKeyTile, rows);
    raise(s, rows, shrink);
    soften(s, rows);
    round_weights(s, p);
    DAGPAM_NO_UNROLL
    for (int32_t tile = first_ + 1; tile < last_; ++tile, ++keys_read, ++values_read) {
      keys_.template await<M>(keys_read);
      values_.template await<M>(values_read);
      M::named_sync(own_turn, 2 * kWarpgroup);
      M::pin(p);
      M::open(s);
      M::open(o);
      scores(s, queries, keys_.buffer(keys_read));
      M::commit();
      add_values(o, p, values_.buffer(values_read));
      M::commit();
      if (who == 0 || tile + 1 < last_) M::named_arrive(other_turn, 2 * kWarpgroup);
      M::template wait<1>(s);
      keys_.template release<M>(keys_read);
      mask(s, tile * kKeyTile, rows);
      raise(s, rows, shrink);
      if constexpr (D == 64) {  // while the last P V runs; at width 128 registers do not suffice
        soften(s, rows);
        M::finish_first(rows.sum[0] + rows.sum[1]);
      }
      M::template wait<0>(o);
      M::pin(p);  // read until here
      values_.template release<M>(values_read);
      DAGPAM_UNROLL
      for (int i = 0; i < D / 2; ++i) o[i] *= shrink[i / 2 % 2];
      if constexpr (D == 128) soften(s, rows);
      round_weights(s, p);
    }
    release_queries();
    values_.template await<M>(values_read);
    M::pin(p);
    M::open(o);
    add_values(o, p, values_.buffer(values_read));
    M::commit();
    M::template wait<0>(o);
    values_.template release<M>(values_read++);
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

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

#include "attention/hopper/forward_parts.h"

namespace dagpam::attention::hopper {

template <class M, class T, int D>
class ForwardBlock : public ForwardParts<M, T, D> {
 public:
  using Parts = ForwardParts<M, T, D>;
  using Parts::Parts;

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
  using Parts::add_values;
  using Parts::barriers;
  using Parts::base_;
  using Parts::batch_;
  using Parts::finish;
  using Parts::first_;
  using Parts::head_;
  using Parts::keys_;
  using Parts::last_;
  using Parts::maps_;
  using Parts::mask;
  using Parts::p_;
  using Parts::place;
  using Parts::query_rows;
  using Parts::raise;
  using Parts::round_weights;
  using Parts::rows_of;
  using Parts::scores;
  using Parts::soften;
  using Parts::stride;
  using Parts::take;
  using Parts::tile_;
  using Parts::values_;
  using typename Parts::Rows;
  using typename Parts::Shared;

  DAGPAM_DEVICE uint32_t queries_read() const { return barriers() + 8 + 32 * Parts::kStages; }

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
};

}  // namespace dagpam::attention::hopper

// attention/hopper/backward_kernel.h: backward of both maps over one stream of queries.
//
// A block keeps 128 keys and values of one key-value head and takes dK and dV of them in registers;
// each consumer has 64 of the keys. It walks over the query tiles that see them, of all heads of
// the group. Scores are taken transposed (keys are rows), so that A and dS feed the dV and dK
// products from registers; dS goes through shared memory too, for dQ+ and dQ-, which both
// consumers' keys add to: they are added to float32 buffers, in the order of the key tiles where
// `turns` is set. What a visit needs beside tiles, the producer writes to shared memory: consumers
// know no masks.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, T query
// tiles.
#pragma once

#include "attention/hopper/backward_parts.h"

namespace dagpam::attention::hopper {

template <class M, class T, int D>
class BackwardBlock : public BackwardParts<M, T, D> {
 public:
  using Parts = BackwardParts<M, T, D>;
  using Parts::Parts;

  DAGPAM_DEVICE void run() {
    if (M::thread() == 0) {
      M::barrier_init(barriers(), 1);
      ring_.template init<M>();
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
  using Parts::add;
  using Parts::barriers;
  using Parts::base_;
  using Parts::in_batch;
  using Parts::key;
  using Parts::kv_head;
  using Parts::p_;
  using Parts::place_of;
  using Parts::produce;
  using Parts::query_gradient;
  using Parts::ring_;
  using Parts::scores;
  using Parts::send;
  using Parts::turn_begins;
  using Parts::turn_ends;
  using Parts::visit_words;
  using Parts::weigh;
  using Parts::word;
  using typename Parts::Place;
  using typename Parts::Shared;

  DAGPAM_DEVICE void consume(int who) const {
    float dk[D / 2], dv[D / 2];
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;
    M::barrier_wait(barriers(), 0);
    Place before;  // the last visit's, whose dS lies in shared memory
    uint32_t n = 0;
    DAGPAM_NO_UNROLL
    for (;; ++n) {
      ring_.template await<M>(n);
      if (M::load_word(word(visit_words(n), Parts::kTileIndex)) == Parts::kNoTile) break;
      if constexpr (D == 64) {
        visit_ahead(who, n, before, dk, dv);
      } else {
        visit(who, n, dk, dv);
      }
    }
    if constexpr (D == 64) {
      if (n > 0) add_last(who, before);
    }
    const int32_t row = key() + who * 64;
    const int64_t first =
        ((static_cast<int64_t>(in_batch()) * p_.sight.keys + row) * p_.kv_heads + kv_head()) * D;
    const int64_t stride = static_cast<int64_t>(p_.kv_heads) * D;
    store_accumulator<M, T>(dk, p_.scale, p_.dk + first, stride, p_.sight.keys - row);
    store_accumulator<M, T>(dv, 1.0F, p_.dv + first, stride, p_.sight.keys - row);
  }

  DAGPAM_DEVICE static bool first_thread() { return M::thread() % kWarpgroup == 0; }

  DAGPAM_DEVICE void add_values(float (&dv)[D / 2], const uint32_t (&weights)[16],
                                uint32_t dy) const {
    DAGPAM_UNROLL
    for (int step = 0; step < 4; ++step) {
      M::template product_rows<T>(dv, weights + step * 4, along_rows(dy, kQueryTile, 0, step),
                                  true);
    }
  }

  // Width 64, which has registers for it: all scores of a visit are asked for at once, and with
  // them dQ of the visit before. Consumer 0 has dQ+, consumer 1 dQ-.
  DAGPAM_DEVICE void visit_ahead(int who, uint32_t n, Place& before, float (&dk)[D / 2],
                                 float (&dv)[D / 2]) const {
    const uint32_t words = visit_words(n), q = ring_.buffer(n);
    const uint32_t q_neg = q + Shared::kTile, dy = q + 2 * Shared::kTile;
    const uint32_t keys = base_ + Shared::kKeys, values = base_ + Shared::kValues;
    float a[32], da[32], s[32], x[32];
    float lse[16], dot[16];
    uint32_t plus[16], minus[16], weights[16];
    M::open(a);
    M::open(da);
    M::open(s);
    M::open(x);
    scores(a, who, keys, q, 0);
    M::commit();
    scores(da, who, values, dy, 0);
    M::commit();
    query_gradient(x, who, 0);  // in the first visit of what lies there, and not used
    M::commit();
    scores(s, who, keys, q_neg, 0);
    M::commit();
    Parts::template load_words<16>(lse, words, kLsePlus, 0);
    Parts::template load_words<16>(dot, words, kDotPlus, 0);
    M::template wait<3>(a);
    weigh(a, who, words, lse, 0);
    M::finish_first(a[3] + a[7] + a[11] + a[15] + a[19] + a[23] + a[27] + a[31]);
    M::template wait<1>(da);
    M::pin(x);
    if (n > 0) add_up(x, who, before);
    M::named_sync(kFree, 2 * kWarpgroup);  // both consumers' products have read the last dS
    Parts::template differentiate<32>(a, da, M::load_float(word(words, Parts::kPlus)), dot, plus);
    Parts::template store_gradient<32>(plus, who, words, 0, 0);
    M::pin(plus);
    M::open(dk);
    Parts::template add_keys<32>(dk, plus, q, 0);
    M::commit();
    Parts::template load_words<16>(lse, words, kLseMinus, 0);
    Parts::template load_words<16>(dot, words, kDotMinus, 0);
    M::template wait<1>(s);
    weigh(s, who, words, lse, 0);
    Parts::template differentiate<32>(s, da, M::load_float(word(words, Parts::kMinus)), dot, minus);
    DAGPAM_UNROLL
    for (int i = 0; i < 32; ++i) a[i] += s[i];
    Parts::template store_gradient<32>(minus, who, words, 1, 0);
    DAGPAM_UNROLL
    for (int i = 0; i < 32; i += 8) fragment_of<M, T>(a + i, weights + i / 2);
    M::pin(minus);
    M::pin(weights);
    M::open(dk);
    M::open(dv);
    Parts::template add_keys<32>(dk, minus, q_neg, 0);
    add_values(dv, weights, dy);
    M::commit();
    before = place_of(words);
    M::fence_async();
    if (first_thread()) M::wait_sums_read();
    M::named_sync(kReady, 2 * kWarpgroup);  // both consumers' dS is there
    M::template wait<0>(dv);
    M::pin(dk);
    M::pin(plus);  // read until here
    M::pin(minus);
    M::pin(weights);
    ring_.template release<M>(n);
  }

  DAGPAM_DEVICE void add_up(const float (&x)[32], int who, Place place) const {
    if (p_.turns == nullptr) {
      send(x, who, place, who, 0,
           base_ + Shared::kSums + static_cast<uint32_t>(who) * Shared::kChunkBytes);
      return;
    }
    turn_begins(who, place);
    add(x, place, who, 0);
    turn_ends(who, place);
  }

  DAGPAM_DEVICE void add_last(int who, Place before) const {
    float x[32];
    M::open(x);
    query_gradient(x, who, 0);
    M::commit();
    M::template wait<0>(x);
    add_up(x, who, before);
    if (first_thread()) M::wait_sums_read();
  }

  // Width 128: S- by halves, as many queries at once as there are registers for, and dQ at the
  // visit's end. A consumer has 64 columns of dQ+ and of dQ-.
  DAGPAM_DEVICE void visit(int who, uint32_t n, float (&dk)[D / 2], float (&dv)[D / 2]) const {
    constexpr int kParts = 2, kCount = 32 / kParts;
    const uint32_t words = visit_words(n), q = ring_.buffer(n);
    const uint32_t q_neg = q + Shared::kTile, dy = q + 2 * Shared::kTile;
    const uint32_t keys = base_ + Shared::kKeys, values = base_ + Shared::kValues;
    float a[32], da[32];
    uint32_t weights[16];
    M::open(a);
    M::open(da);
    scores(a, who, keys, q, 0);
    M::commit();
    scores(da, who, values, dy, 0);
    M::commit();
    M::template wait<1>(a);
    weigh(a, who, words, kLsePlus, 0);
    M::template wait<0>(da);
    M::named_sync(kFree, 2 * kWarpgroup);          // both consumers have read the last dS
    uint32_t plus[kCount / 2], minus[kCount / 2];  // fragments of dS+ and dS-
    DAGPAM_UNROLL
    for (int part = 0; part < kParts; ++part) {
      const int first = part * kCount, column = part * 2 * kCount;
      float s[kCount];
      float dot[kCount / 2];
      Parts::template load_words<kCount / 2>(dot, words, kDotPlus, column);
      Parts::template differentiate<kCount>(a + first, da + first,
                                            M::load_float(word(words, Parts::kPlus)), dot, plus);
      Parts::template store_gradient<kCount>(plus, who, words, 0, column);
      M::pin(plus);
      M::open(dk);
      M::open(s);
      Parts::template add_keys<kCount>(dk, plus, q, column);
      scores(s, who, keys, q_neg, column);
      M::commit();
      M::template wait<0>(s);
      M::pin(dk);
      weigh(s, who, words, kLseMinus, column);
      Parts::template load_words<kCount / 2>(dot, words, kDotMinus, column);
      Parts::template differentiate<kCount>(s, da + first,
                                            M::load_float(word(words, Parts::kMinus)), dot, minus);
      DAGPAM_UNROLL
      for (int i = 0; i < kCount; ++i) a[first + i] += s[i];
      Parts::template store_gradient<kCount>(minus, who, words, 1, column);
      DAGPAM_UNROLL
      for (int i = first; i < first + kCount; i += 8) fragment_of<M, T>(a + i, weights + i / 2);
      M::pin(minus);
      M::open(dk);
      Parts::template add_keys<kCount>(dk, minus, q_neg, column);
      M::commit();
    }
    M::pin(weights);
    M::open(dv);
    add_values(dv, weights, dy);
    M::commit();
    M::fence_async();
    const Place place = place_of(words);
    M::named_sync(kReady, 2 * kWarpgroup);  // both consumers' dS is there
    M::template wait<0>(dv);
    M::pin(dk);
    ring_.template release<M>(n);
    float x_plus[32], x_minus[32];
    M::open(x_plus);
    M::open(x_minus);
    query_gradient(x_plus, 0, who);
    M::commit();
    query_gradient(x_minus, 1, who);
    M::commit();
    M::template wait<1>(x_plus);
    turn_begins(who, place);
    add(x_plus, place, 0, who);
    M::template wait<0>(x_minus);
    add(x_minus, place, 1, who);
    turn_ends(who, place);
  }
};

}  // namespace dagpam::attention::hopper

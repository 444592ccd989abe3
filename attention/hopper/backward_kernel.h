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

#include "attention/hopper/backward_params.h"

namespace dagpam::attention::hopper {

template <class M, class T, int D>
class BackwardBlock {
 public:
  using Maps = BackwardMaps<typename M::TensorMap>;

  DAGPAM_DEVICE BackwardBlock(const Maps& maps, const BackwardParams& params)
      : maps_(maps), p_(params), base_(M::shared_base()) {
    ring_ = {base_ + Shared::kQueries, 3 * Shared::kTile, barriers() + 8,
             barriers() + 8 + 8 * kStages};
  }

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
  using Shared = BackwardShared<D>;
  static constexpr int kStages = Shared::kStages;
  // Words of a visit, behind its rows' words: which tile of [B, H, T] (or kNoTile), whether some
  // of its scores are masked, the factors, the visit's turn at the tile's dQ, and 0.
  enum VisitWord { kTileIndex, kMasked, kPlus, kMinus, kTurnNumber, kZero };
  static constexpr uint32_t kNoTile = 0xFFFFFFFFU;

  // Where a visit's dQ goes.
  struct Place {
    int32_t tile = 0, turn = 0;
  };

  DAGPAM_DEVICE uint32_t barriers() const { return base_ + Shared::kBarriers; }
  DAGPAM_DEVICE uint32_t visit_words(uint32_t n) const {
    return base_ + Shared::kVisits + ring_.stage(n) * Shared::kVisit;
  }
  DAGPAM_DEVICE static uint32_t word(uint32_t visit, VisitWord which) {
    return visit + Shared::kRowBytes + static_cast<uint32_t>(which) * 4;
  }
  DAGPAM_DEVICE static int32_t key() { return static_cast<int32_t>(M::block_x()) * kKeyTile; }
  DAGPAM_DEVICE static int32_t kv_head() { return static_cast<int32_t>(M::block_y()); }
  DAGPAM_DEVICE static int32_t in_batch() { return static_cast<int32_t>(M::block_z()); }
  DAGPAM_DEVICE int32_t query_tiles() const {
    return static_cast<int32_t>(tiles(p_.sight.queries, kQueryTile));
  }

  DAGPAM_DEVICE void produce() const {
    M::barrier_expect(barriers(), 2 * tile_bytes(kKeyTile, D));
    load_rows_of<M, D>(maps_.k, base_ + Shared::kKeys, barriers(), kKeyTile, key(), kv_head(),
                       in_batch());
    load_rows_of<M, D>(maps_.v, base_ + Shared::kValues, barriers(), kKeyTile, key(), kv_head(),
                       in_batch());
    const int32_t group = p_.heads / p_.kv_heads, tile_count = query_tiles();
    uint32_t n = 0;
    DAGPAM_NO_UNROLL
    for (int32_t head = kv_head() * group; head < (kv_head() + 1) * group; ++head) {
      DAGPAM_NO_UNROLL
      for (int32_t tile = 0; tile < tile_count; ++tile) {
        const TileRange range = p_.sight.tile(in_batch(), tile);
        if (range.touches(key(), kKeyTile)) load_visit(n++, head, tile, range);
      }
    }
    const uint32_t visit = visit_words(n);
    M::barrier_wait(ring_.empty_at(n), ring_.parity(n) ^ 1);
    M::store(word(visit, kTileIndex), kNoTile);
    M::barrier_arrive(ring_.full_at(n));
  }

  DAGPAM_DEVICE void load_visit(uint32_t n, int32_t head, int32_t tile,
                                const TileRange& range) const {
    const int32_t at = (in_batch() * p_.heads + head) * query_tiles() + tile;
    const uint32_t visit = visit_words(n), full = ring_.full_at(n), to = ring_.buffer(n);
    M::barrier_wait(ring_.empty_at(n), ring_.parity(n) ^ 1);
    const Factors c = p_.factors(head);
    M::store(word(visit, kTileIndex), static_cast<uint32_t>(at));
    M::store(word(visit, kMasked), range.covers(key(), kKeyTile) ? 0U : 1U);
    M::store(word(visit, kZero), 0U);
    M::store(word(visit, kPlus), c.plus);
    M::store(word(visit, kMinus), c.minus);
    M::store(word(visit, kTurnNumber),
             static_cast<uint32_t>(key() / kKeyTile - range.first_tile()));
    M::barrier_expect(full, 3 * Shared::kTile + Shared::kRowBytes);
    const int32_t row = tile * kQueryTile;
    load_rows_of<M, D>(maps_.q, to, full, kQueryTile, row, head, in_batch());
    load_rows_of<M, D>(maps_.q_neg, to + Shared::kTile, full, kQueryTile, row, head, in_batch());
    load_rows_of<M, D>(maps_.dy, to + 2 * Shared::kTile, full, kQueryTile, row, head, in_batch());
    M::load_bytes(visit, p_.rows + static_cast<int64_t>(at) * (kRowWords * kQueryTile),
                  Shared::kRowBytes, full);
  }

  DAGPAM_DEVICE void consume(int who) const {
    float dk[D / 2], dv[D / 2];
    DAGPAM_UNROLL
    for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;
    M::barrier_wait(barriers(), 0);
    DAGPAM_NO_UNROLL
    for (uint32_t n = 0;; ++n) {
      ring_.template await<M>(n);
      if (M::load_word(word(visit_words(n), kTileIndex)) == kNoTile) break;
      const Place place = visit(who, n, dk, dv);
      add_to_queries(who, place);
    }
    const int32_t row = key() + who * 64;
    const int64_t first =
        ((static_cast<int64_t>(in_batch()) * p_.sight.keys + row) * p_.kv_heads + kv_head()) * D;
    const int64_t stride = static_cast<int64_t>(p_.kv_heads) * D;
    store_accumulator<M, T>(dk, p_.scale, p_.dk + first, stride, p_.sight.keys - row);
    store_accumulator<M, T>(dv, 1.0F, p_.dv + first, stride, p_.sight.keys - row);
  }

  // kCount accumulators of S^T, 64 keys by the queries from `column` on: this consumer's keys
  // (or values) against rows of a tile of queries (or dY).
  template <int kCount>
  DAGPAM_DEVICE void scores(float (&s)[kCount], int who, uint32_t keys, uint32_t queries,
                            int column) const {
    DAGPAM_UNROLL
    for (int step = 0; step < D / 16; ++step) {
      M::template product<T, false, false>(s, along_columns(keys, kKeyTile, who * 64, step),
                                           along_columns(queries, kQueryTile, column, step),
                                           step > 0);
    }
  }

  // S^T to P^T by the rows' sums; what is not visible to 0.
  template <int kCount>
  DAGPAM_DEVICE void weigh(float (&s)[kCount], int who, uint32_t visit, RowWord lse,
                           int column) const {
    const int t = own_place(visit);
    if (M::load_word(word(visit, kMasked)) != 0) {
      const int32_t row = key() + who * 64 + fragment_row(t, 0);
      DAGPAM_UNROLL
      for (int i = 0; i < kCount; ++i) {
        const uint32_t at = row_word(visit, kFirstKey, column + fragment_column(t, i));
        const auto first = static_cast<int32_t>(M::load_word(at));
        const auto last = static_cast<int32_t>(M::load_word(at + kQueryTile * 4));
        const int32_t own = row + i / 2 % 2 * 8;
        s[i] = own >= first && own < last ? s[i] : -M::infinity();
      }
    }
    DAGPAM_UNROLL
    for (int i = 0; i < kCount; i += 4) {
      float of[2];
      M::load_pair(row_word(visit, lse, column + fragment_column(t, i)), of);
      DAGPAM_UNROLL
      for (int j = 0; j < 4; ++j) s[i + j] = M::exp2(s[i + j] * p_.scale2 - of[j % 2]);
    }
  }

  // This thread of the warpgroup, read through a word that is 0, which the assembler cannot know:
  // the addresses that come of it are computed twice, since there are no registers to keep them in.
  DAGPAM_DEVICE static int own_place(uint32_t visit) {
    return M::thread() % kWarpgroup + static_cast<int>(M::load_volatile(word(visit, kZero)));
  }

  DAGPAM_DEVICE static uint32_t row_word(uint32_t visit, RowWord which, int column) {
    return visit + static_cast<uint32_t>(which * kQueryTile + column) * 4;
  }

  // P^T to c P^T, and dS^T = c P^T (dA^T - d) as the A fragments of a product.
  template <int kCount>
  DAGPAM_DEVICE void differentiate(float* p, const float* da, float factor, uint32_t visit,
                                   RowWord dot, int column, uint32_t* gradient) const {
    const int t = own_place(visit);
    DAGPAM_UNROLL
    for (int i = 0; i < kCount; i += 4) {
      float of[2], ds[4];
      M::load_pair(row_word(visit, dot, column + fragment_column(t, i)), of);
      DAGPAM_UNROLL
      for (int j = 0; j < 4; ++j) {
        p[i + j] *= factor;
        ds[j] = p[i + j] * (da[i + j] - of[j % 2]);
      }
      gradient[i / 2] = M::template pack<T>(ds[0], ds[1]);
      gradient[i / 2 + 1] = M::template pack<T>(ds[2], ds[3]);
    }
  }

  // Fragments of dS^T to a tile [128 keys][64 queries].
  template <int kCount>
  DAGPAM_DEVICE void store_gradient(const uint32_t* gradient, int who, uint32_t visit, int map,
                                    int column) const {
    // Chunks are exchanged by an exclusive or of address bits 4 to 6, rows 8 apart alike.
    const int t = own_place(visit);
    const uint32_t start = base_ + Shared::kGradients +
                           static_cast<uint32_t>(map) * Shared::kGradient +
                           swizzled(who * 64 + fragment_row(t, 0), fragment_column(t, 0));
    DAGPAM_UNROLL
    for (int i = 0; i < kCount; i += 2) {
      const auto chunk = static_cast<uint32_t>(column / 8 + i / 4);
      M::store((start ^ (chunk * 16)) + static_cast<uint32_t>(i / 2 % 2) * 1024, gradient[i / 2]);
    }
  }

  // dK += dS^T Q over 2 kCount queries from `column` on.
  template <int kCount>
  DAGPAM_DEVICE void add_keys(float (&dk)[D / 2], const uint32_t* gradient, uint32_t queries,
                              int column) const {
    DAGPAM_UNROLL
    for (int step = 0; step < kCount / 8; ++step) {
      M::template product_rows<T>(dk, gradient + step * 4,
                                  along_rows(queries, kQueryTile, 0, column / 16 + step), true);
    }
  }

  DAGPAM_DEVICE Place visit(int who, uint32_t n, float (&dk)[D / 2], float (&dv)[D / 2]) const {
    // Of S-, as many queries at once as there are registers for.
    constexpr int kParts = D == 128 ? 2 : 1, kCount = 32 / kParts;
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
      differentiate<kCount>(a + first, da + first, M::load_float(word(words, kPlus)), words,
                            kDotPlus, column, plus);
      store_gradient<kCount>(plus, who, words, 0, column);
      M::pin(plus);
      M::open(dk);
      M::open(s);
      add_keys<kCount>(dk, plus, q, column);
      scores(s, who, keys, q_neg, column);
      M::commit();
      M::template wait<0>(s);
      M::pin(dk);
      weigh(s, who, words, kLseMinus, column);
      differentiate<kCount>(s, da + first, M::load_float(word(words, kMinus)), words, kDotMinus,
                            column, minus);
      DAGPAM_UNROLL
      for (int i = 0; i < kCount; ++i) a[first + i] += s[i];
      store_gradient<kCount>(minus, who, words, 1, column);
      DAGPAM_UNROLL
      for (int i = first; i < first + kCount; i += 8) fragment_of<M, T>(a + i, weights + i / 2);
      M::pin(minus);
      M::open(dk);
      add_keys<kCount>(dk, minus, q_neg, column);
      M::commit();
    }
    M::pin(weights);
    M::open(dv);
    DAGPAM_UNROLL
    for (int step = 0; step < 4; ++step) {
      M::template product_rows<T>(dv, weights + step * 4, along_rows(dy, kQueryTile, 0, step),
                                  true);
    }
    M::commit();
    M::fence_async();
    M::template wait<0>(dv);
    M::pin(dk);
    const Place place{static_cast<int32_t>(M::load_word(word(words, kTileIndex))),
                      static_cast<int32_t>(M::load_word(word(words, kTurnNumber)))};
    ring_.template release<M>(n);
    M::named_sync(kReady, 2 * kWarpgroup);  // both consumers' dS is there
    return place;
  }

  // Adds dS K to the query tile's dQ+ and dQ-: 64 columns of each (D = 128) or one of the two.
  DAGPAM_DEVICE void add_to_queries(int who, Place place) const {
    const int64_t tile_count = static_cast<int64_t>(p_.batch) * p_.heads * query_tiles();
    const int t = M::thread() % kWarpgroup;
    int32_t* const counter = p_.turns + static_cast<int64_t>(place.tile) * 2 + who;
    DAGPAM_UNROLL
    for (int job = 0; job < D / kColumnBlock; ++job) {
      const int map = D == 64 ? who : job, block = D == 64 ? 0 : who;
      const uint32_t gradient =
          base_ + Shared::kGradients + static_cast<uint32_t>(map) * Shared::kGradient;
      float x[32];
      M::open(x);
      DAGPAM_UNROLL
      for (int step = 0; step < kKeyTile / 16; ++step) {
        M::template product<T, true, true>(x, along_rows(gradient, kKeyTile, 0, step),
                                           along_rows(base_ + Shared::kKeys, kKeyTile, block, step),
                                           step > 0);
      }
      M::commit();
      M::template wait<0>(x);
      if (p_.turns != nullptr && job == 0) {
        if (t == 0) M::wait_turn(counter, place.turn);
        M::named_sync(kAlone + who, kWarpgroup);
      }
      float* const to = p_.dq + dq_chunk(map, place.tile, tile_count, block, D) + t * 4;
      DAGPAM_UNROLL
      for (int i = 0; i < 32; i += 4) M::add_four(to + i * 128, x[i], x[i + 1], x[i + 2], x[i + 3]);
    }
    if (p_.turns == nullptr) return;
    M::fence_device();
    M::named_sync(kAlone + who, kWarpgroup);
    if (t == 0) M::end_turn(counter);
  }

  const Maps& maps_;
  const BackwardParams& p_;
  uint32_t base_;
  Ring<kStages> ring_;
};

}  // namespace dagpam::attention::hopper

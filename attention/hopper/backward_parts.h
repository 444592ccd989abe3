// attention/hopper/backward_parts.h: what backward's producer loads, what its consumers do to a
// tile of scores, and how they take turns at the sums of dQ. For backward_kernel.h.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, T query
// tiles.
#pragma once

#include "attention/hopper/backward_params.h"

namespace dagpam::attention::hopper {

template <class M, class T, int D>
class BackwardParts {
 public:
  using Maps = BackwardMaps<typename M::TensorMap>;

  DAGPAM_DEVICE BackwardParts(const Maps& maps, const BackwardParams& params)
      : maps_(maps), p_(params), base_(M::shared_base()) {
    ring_ = {base_ + Shared::kQueries, 3 * Shared::kTile, barriers() + 8,
             barriers() + 8 + 8 * kStages};
  }

 protected:
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
  // Where turns are taken the last keys come first: in a causal order a tile of queries is then
  // where its turns begin when it is the first of a block's walk, and no block waits for long.
  DAGPAM_DEVICE int32_t key() const {
    const auto x = static_cast<int32_t>(M::block_x());
    const auto count = static_cast<int32_t>(tiles(p_.sight.keys, kKeyTile));
    return (p_.turns == nullptr ? x : count - 1 - x) * kKeyTile;
  }
  DAGPAM_DEVICE static int32_t kv_head() { return static_cast<int32_t>(M::block_y()); }
  DAGPAM_DEVICE static int32_t in_batch() { return static_cast<int32_t>(M::block_z()); }
  DAGPAM_DEVICE int32_t query_tiles() const {
    return static_cast<int32_t>(tiles(p_.sight.queries, kQueryTile));
  }

  DAGPAM_DEVICE Place place_of(uint32_t visit) const {
    return {static_cast<int32_t>(M::load_word(word(visit, kTileIndex))),
            static_cast<int32_t>(M::load_word(word(visit, kTurnNumber)))};
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
             static_cast<uint32_t>(range.last_tile() - 1 - key() / kKeyTile));
    M::barrier_expect(full, 3 * Shared::kTile + Shared::kRowBytes);
    const int32_t row = tile * kQueryTile;
    load_rows_of<M, D>(maps_.q, to, full, kQueryTile, row, head, in_batch());
    load_rows_of<M, D>(maps_.q_neg, to + Shared::kTile, full, kQueryTile, row, head, in_batch());
    load_rows_of<M, D>(maps_.dy, to + 2 * Shared::kTile, full, kQueryTile, row, head, in_batch());
    M::load_bytes(visit, p_.rows + static_cast<int64_t>(at) * (kRowWords * kQueryTile),
                  Shared::kRowBytes, full);
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
    float of[kCount / 2];
    load_words(of, visit, lse, column);
    weigh(s, who, visit, of, column);
  }
  template <int kCount>
  DAGPAM_DEVICE void weigh(float (&s)[kCount], int who, uint32_t visit,
                           const float (&lse)[kCount / 2], int column) const {
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
    for (int i = 0; i < kCount; ++i) s[i] = M::exp2(s[i] * p_.scale2 - lse[i / 4 * 2 + i % 2]);
  }

  // One of the rows' words for this thread's queries: of element i the (i / 4 2 + i mod 2)th.
  template <int kCount>
  DAGPAM_DEVICE void load_words(float (&to)[kCount], uint32_t visit, RowWord which,
                                int column) const {
    const int t = own_place(visit);
    DAGPAM_UNROLL
    for (int i = 0; i < kCount; i += 2) {
      float pair[2];
      M::load_pair(row_word(visit, which, column + fragment_column(t, 2 * i)), pair);
      to[i] = pair[0];
      to[i + 1] = pair[1];
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
  DAGPAM_DEVICE void differentiate(float* p, const float* da, float factor,
                                   const float (&dot)[kCount / 2], uint32_t* gradient) const {
    DAGPAM_UNROLL
    for (int i = 0; i < kCount; i += 4) {
      float ds[4];
      DAGPAM_UNROLL
      for (int j = 0; j < 4; ++j) {
        p[i + j] *= factor;
        ds[j] = p[i + j] * (da[i + j] - dot[i / 2 + j % 2]);
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

  // 64 columns of dS K of the visit whose dS lies in shared memory.
  DAGPAM_DEVICE void query_gradient(float (&x)[32], int map, int block) const {
    const uint32_t gradient =
        base_ + Shared::kGradients + static_cast<uint32_t>(map) * Shared::kGradient;
    DAGPAM_UNROLL
    for (int step = 0; step < kKeyTile / 16; ++step) {
      M::template product<T, true, true>(x, along_rows(gradient, kKeyTile, 0, step),
                                         along_rows(base_ + Shared::kKeys, kKeyTile, block, step),
                                         step > 0);
    }
  }

  // Adds them to the tile's dQ+ or dQ-, 16 bytes a thread. In turn: see turn_begins, turn_ends.
  DAGPAM_DEVICE void add(const float (&x)[32], Place place, int map, int block) const {
    const int64_t tile_count = static_cast<int64_t>(p_.batch) * p_.heads * query_tiles();
    float* const to =
        p_.dq + dq_chunk(map, place.tile, tile_count, block, D) + M::thread() % kWarpgroup * 4;
    DAGPAM_UNROLL
    for (int i = 0; i < 32; i += 4) M::add_four(to + i * 128, x[i], x[i + 1], x[i + 2], x[i + 3]);
  }
  DAGPAM_DEVICE int32_t* counter(int who, Place place) const {
    return p_.turns == nullptr ? nullptr : p_.turns + static_cast<int64_t>(place.tile) * 2 + who;
  }
  DAGPAM_DEVICE void turn_begins(int who, Place place) const {
    if (p_.turns == nullptr) return;
    if (M::thread() % kWarpgroup == 0) M::wait_turn(counter(who, place), place.turn);
    M::named_sync(kAlone + who, kWarpgroup);
  }
  DAGPAM_DEVICE void turn_ends(int who, Place place) const {
    if (p_.turns == nullptr) return;
    M::fence_device();
    M::named_sync(kAlone + who, kWarpgroup);
    if (M::thread() % kWarpgroup == 0) M::end_turn(counter(who, place));
  }

  // The same by way of `staging`, of which this warpgroup's last addition has been read
  // (wait_sums_read, and a barrier since). The copy engine adds: no thread waits for the level 2
  // cache. Not in turn: the next block would have to wait for the copy engine too.
  DAGPAM_DEVICE void send(const float (&x)[32], int who, Place place, int map, int block,
                          uint32_t staging) const {
    const int64_t tile_count = static_cast<int64_t>(p_.batch) * p_.heads * query_tiles();
    const int t = M::thread() % kWarpgroup;
    DAGPAM_UNROLL
    for (int i = 0; i < 32; i += 4) {
      M::store_four(staging + static_cast<uint32_t>(i) * 512 + static_cast<uint32_t>(t) * 16, x[i],
                    x[i + 1], x[i + 2], x[i + 3]);
    }
    M::fence_async();
    M::named_sync(kAlone + who, kWarpgroup);
    if (t != 0) return;
    M::add_bytes(p_.dq + dq_chunk(map, place.tile, tile_count, block, D), staging,
                 Shared::kChunkBytes);
  }

  const Maps& maps_;
  const BackwardParams& p_;
  uint32_t base_;
  Ring<kStages> ring_;
};

}  // namespace dagpam::attention::hopper

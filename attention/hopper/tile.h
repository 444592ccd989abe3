// attention/hopper/tile.h: how the fused kernel cuts an attention into tiles, what a row of queries
// sees of them, and where the numbers of a tile lie. Shared by the kernels, the model of their
// algorithm and the tests. Knows no torch and no CUDA.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define DAGPAM_BOTH __host__ __device__ __forceinline__
#else
#define DAGPAM_BOTH inline
#endif

namespace dagpam::attention::hopper {

constexpr int kQueryTile = 64;    // rows of one warpgroup's matrix product
constexpr int kKeyTile = 128;     // two of them in backward, where keys are the rows
constexpr int kWarpgroup = 128;   // threads that issue one matrix product together
constexpr int kColumnBlock = 64;  // columns of 16-bit numbers in 128 bytes, the swizzle's span
constexpr float kLog2E = 1.44269504F;

DAGPAM_BOTH constexpr int64_t tiles(int64_t rows, int64_t tile) { return (rows + tile - 1) / tile; }

// Query tiles of a head that one block of backward's finish takes; its share of dW_neg is theirs.
constexpr int kFinishRun = 8;
DAGPAM_BOTH constexpr int64_t finish_runs(int64_t queries) {
  return tiles(tiles(queries, kQueryTile), kFinishRun);
}

// The keys that a row of queries sees, [first, last).
struct Interval {
  int32_t first = 0, last = 0;
};

// What the rows of a query tile see: outside [any_first, any_last) no row sees a key, inside
// [all_first, all_last) every row sees every key. Rows past N do not count; an empty row leaves
// nothing that all see.
struct TileRange {
  int32_t any_first = 0, any_last = 0, all_first = 0, all_last = 0;

  DAGPAM_BOTH bool touches(int32_t key, int32_t keys) const {
    return any_first < key + keys && any_last > key;
  }
  DAGPAM_BOTH bool covers(int32_t key, int32_t keys) const {
    return all_first <= key && all_last >= key + keys;
  }
  DAGPAM_BOTH int32_t first_tile() const { return any_first / kKeyTile; }
  DAGPAM_BOTH int32_t last_tile() const {
    return any_last > any_first ? (any_last + kKeyTile - 1) / kKeyTile : first_tile();
  }
};

DAGPAM_BOTH int32_t min_of(int32_t a, int32_t b) { return a < b ? a : b; }
DAGPAM_BOTH int32_t max_of(int32_t a, int32_t b) { return a > b ? a : b; }

// Which keys queries see: by `bounds` where it is set, else those up to a query's own place (the
// last query is aligned with the last key), else all.
struct Sight {
  const int32_t* bounds = nullptr;    // [2, B or 1, N]: first visible key, one past the last
  int64_t bounds_batch = 0;           // N, or 0 where the batch shares them
  int64_t bounds_last = 0;            // from first to last: numbers between the two halves
  const TileRange* ranges = nullptr;  // [B or 1, tiles of N], of `bounds`
  int64_t ranges_batch = 0;
  int32_t queries = 0, keys = 0;
  bool causal = true;

  DAGPAM_BOTH int32_t causal_last(int32_t n) const {
    return causal ? max_of(0, min_of(keys, n + keys - queries + 1)) : keys;
  }
  DAGPAM_BOTH Interval row(int64_t b, int32_t n) const {
    if (n >= queries) return {};
    if (bounds == nullptr) return {0, causal_last(n)};
    const int32_t* const at = bounds + b * bounds_batch + n;
    return {at[0], at[bounds_last]};
  }
  DAGPAM_BOTH TileRange tile(int64_t b, int32_t tile) const {
    if (bounds != nullptr) return ranges[b * ranges_batch + tile];
    const int32_t n = tile * kQueryTile;
    const int32_t last = causal_last(min_of(n + kQueryTile, queries) - 1);
    return {0, last, 0, causal_last(n)};
  }
};

// Adds a row to the range of its tile; start with {INT32_MAX, 0, 0, INT32_MAX}.
DAGPAM_BOTH void widen(TileRange& range, Interval row) {
  const bool empty = row.first >= row.last;
  range.any_first = empty ? range.any_first : min_of(range.any_first, row.first);
  range.any_last = empty ? range.any_last : max_of(range.any_last, row.last);
  range.all_first = empty ? INT32_MAX : max_of(range.all_first, row.first);
  range.all_last = empty ? 0 : min_of(range.all_last, row.last);
}

// The factors of the two maps, Y = c+ O+ + c- O-.
struct Factors {
  float plus = 0, minus = 0;
};
DAGPAM_BOTH Factors factors_of(float plus, float minus) { return {1 + plus, -minus}; }

// What backward's preprocessing leaves for each row of a query tile: [B, H, tiles, kRowWords, 64].
enum RowWord { kLsePlus, kLseMinus, kDotPlus, kDotMinus, kFirstKey, kLastKey, kRowWords };

// Where thread t of a warpgroup holds element i of a 64 x n accumulator (PTX ISA, "wgmma register
// fragments", D): two columns side by side, two rows 8 apart, then the next 8 columns.
DAGPAM_BOTH constexpr int fragment_row(int thread, int i) {
  return thread / 32 * 16 + thread % 32 / 4 + (i / 2 % 2) * 8;
}
DAGPAM_BOTH constexpr int fragment_column(int thread, int i) {
  return i / 4 * 8 + thread % 4 * 2 + i % 2;
}

// Bytes from the start of a tile [rows][64 columns] of 16-bit numbers to one of them, as TMA's and
// wgmma's 128-byte swizzle lays it: rows of 128 bytes, 16-byte chunks exchanged by the row
// modulo 8.
DAGPAM_BOTH constexpr uint32_t swizzled(int row, int column) {
  const auto r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(column);
  return r * 128 + (((c / 8) ^ (r % 8)) * 16) + c % 8 * 2;
}

}  // namespace dagpam::attention::hopper

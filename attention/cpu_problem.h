// attention/cpu_problem.h: one attention of one or two softmax maps, as the CPU kernels see it:
// pointers and strides. Knows no torch; cpu_attention.h is the door.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <cstdint>

#include "attention/cpu_blas.h"
#include "parallel/random_rows.h"

namespace dagpam::attention::cpu {

// A tensor [B, rows, heads, D]; strides in elements, 1 in D, at least D between rows.
template <typename T>
struct Rows {
  const T* data = nullptr;
  int64_t batch = 0, row = 0, head = 0;

  const T* at(int64_t b, int64_t n, int64_t h) const {
    return data + b * batch + n * row + h * head;
  }
  Operand<T> matrix(int64_t b, int64_t n, int64_t h) const { return {at(b, n, h), row}; }
  Operand<T> transposed(int64_t b, int64_t n, int64_t h) const { return {at(b, n, h), row, true}; }
};

// Which weights are dropped; see parallel/random.h for the counters.
struct Dropout {
  uint64_t key = 0;
  uint32_t threshold = 0;
  double keep_scale = 1;             // 1 / (1 - p)
  const int64_t* samples = nullptr;  // [B]
  int64_t head_offset = 0;
};

// Queries worked on at once. Few waste little above the diagonal, many feed the matrix products
// better, and their scores (of all keys, of all `maps`) should stay in cache. Measured; any choice
// is right.
inline int64_t choose_query_block(int64_t queries, int64_t keys, int64_t maps) {
  int64_t block = maps == 1 && queries > 128 ? 64 : 32;
  while (block > 8 && block * keys * maps > (1 << 20)) block /= 2;
  return block;
}

template <typename T>
struct Problem {
  int64_t batch = 0, queries = 0, keys = 0, heads = 0, kv_heads = 0, width = 0;
  T scale = 1;                                     // of the scores
  Rows<T> q, q_neg, k, v;                          // q_neg.data is nullptr where there is one map
  const T *plus = nullptr, *minus = nullptr;       // [H] l+ and l-, where there are two
  const int32_t *begin = nullptr, *end = nullptr;  // [B or 1, N] visible keys, within [0, M]
  int64_t bounds_batch = 0;                        // N, or 0 where all batches share them
  const Dropout* dropout = nullptr;
  int64_t query_block = 32;

  int64_t maps() const { return q_neg.data != nullptr ? 2 : 1; }
  T plus_factor(int64_t h) const { return plus != nullptr ? 1 + plus[h] : T(1); }
  T minus_factor(int64_t h) const { return minus != nullptr ? -minus[h] : T(0); }
};

template <typename T>
struct Result {
  T* y = nullptr;    // [B, N, H, D] contiguous
  T* lse = nullptr;  // [maps, B, H, N] row log-sum-exps, 0 for a row that sees nothing
};

template <typename T>
struct Gradients {
  Rows<T> dy;
  T *dq = nullptr, *dq_neg = nullptr;  // [B, N, H, D] contiguous
  T *dk = nullptr, *dv = nullptr;      // [B, M, Hkv, D] contiguous, zero before
  double *dot_plus = nullptr,
         *dot_minus = nullptr;  // [B, H] sums over the queries of d+ and d-, two maps
};

// Forward is cut into tasks that are independent of each other: blocks of queries of one head.
template <typename T>
int64_t forward_tasks(const Problem<T>& problem);
template <typename T>
void forward(const Problem<T>& problem, const Result<T>& result, int64_t first_task,
             int64_t last_task);

// Backward into B * Hkv: the query heads of one key-value head, which add to the same dK and dV.
template <typename T>
int64_t backward_tasks(const Problem<T>& problem);
template <typename T>
void backward(const Problem<T>& problem, const T* lse, const Gradients<T>& gradients,
              int64_t first_task, int64_t last_task);

}  // namespace dagpam::attention::cpu

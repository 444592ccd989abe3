// attention/cpu_rows.h: the elementwise part of the CPU fast path, a block of rows at a time. One
// source, compiled for several instruction sets and chosen at run time. Knows no torch.
//
// A block holds scores of `rows` queries and `cols` keys, row-major with a leading dimension `ld`
// that is a multiple of kLanes; what lies between `cols` and the next multiple of kLanes may be
// read and written.
#pragma once

#include <cstdint>

namespace dagpam::attention::cpu {

inline constexpr int64_t kLanes = 16;

// From the scores of one map (`minus` is nullptr) or of two to the attention weights
// A = (1 + l+) P+ - l- P-.
template <typename T>
struct WeightsBlock {
  int64_t rows, cols, ld;
  const int32_t *begin, *end;   // [rows] visible columns, within [0, cols]; none where begin >= end
  T* plus;                      // [rows, ld] in: scores of P+; out: weights, 0 where not visible
  T* minus;                     // [rows, ld] in: scores of P-; out: scratch
  const T* keep;                // [rows, ld] dropout factors, or nullptr
  T *lse_plus, *lse_minus;      // [rows] out: log-sum-exps, 0 for a row that sees nothing
  T plus_factor, minus_factor;  // 1 + l+ and -l-
};

// From the same scores to their gradients. With one mask on the combined weights, d+ and d- are
// those of the masked P+ and P-. They are summed from P and dA, not taken as dY * O: only so do
// they cancel dA in a saturated row, where a score's gradient is far smaller than dA. For the same
// reason P is divided by its own sum again: a log-sum-exp of several hundred is coarse in float32.
template <typename T>
struct GradientBlock {
  int64_t rows, cols, ld;
  const int32_t *begin, *end;  // as above
  T *plus, *minus;             // [rows, ld] in: scores; out: their gradients, 0 where not visible
  T* weights;                  // [rows, ld] in: dA, the weights' gradient; out: the weights A
  const T* keep;               // as above
  const T *lse_plus, *lse_minus;  // [rows]
  T *dot_plus, *dot_minus;        // [rows] out: d+ = sum P+ dA and d- = sum P- dA
  T plus_factor, minus_factor;    // as above
};

// `count` rows of keys or of values, each of `heads` neighbouring heads, that one query a head is
// held against. per_head rows of `ld` elements belong to each head.
template <typename T>
struct KeyRows {
  const T* data;
  int64_t count, step, heads, head_step, width;
  int64_t per_head, ld;
};

template <typename T>
struct RowKernels {
  const char* name;
  void (*weights)(const WeightsBlock<T>& block);
  void (*gradient)(const GradientBlock<T>& block);
  // y <- max(x, 0); NaN stays.
  void (*relu)(const T* x, T* y, int64_t n);
  // y <- base + (x > 0 ? y : 0), where base may be nullptr (0).
  void (*gate)(const T* x, const T* base, T* y, int64_t n);
  // (y1, y2) <- (x1 cos - sign x2 sin, x2 cos + sign x1 sin) for the halves of a row of 2 half
  // elements.
  void (*rotate)(const T* x, const T* cos, const T* sin, T sign, T* y, int64_t half);
  // y <- exp(x): float32 within 2 units in the last place for x in [-87.3, 88], 0 below; NaN stays.
  void (*exp)(const T* x, T* y, int64_t n);
  // scores [heads * per_head, ld] <- scale times the dot products of queries [heads * per_head,
  // width] with the keys of their heads.
  void (*dots)(const KeyRows<T>& keys, const T* queries, T scale, T* scores);
  // y [heads * per_head, width] += the values of their heads, weighted by weights [heads *
  // per_head, ld].
  void (*mix)(const KeyRows<T>& values, const T* weights, T* y);
};

// The fastest set that this processor runs.
template <typename T>
const RowKernels<T>& row_kernels();

namespace portable {
extern const RowKernels<float> kFloatRows;
extern const RowKernels<double> kDoubleRows;
}  // namespace portable
namespace avx2 {
extern const RowKernels<float> kFloatRows;
extern const RowKernels<double> kDoubleRows;
}  // namespace avx2
namespace avx512 {
extern const RowKernels<float> kFloatRows;
extern const RowKernels<double> kDoubleRows;
}  // namespace avx512

}  // namespace dagpam::attention::cpu

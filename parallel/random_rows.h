// parallel/random_rows.h: dropout masks a row at a time, fast. The plain loop and the vector one
// (AVX2, chosen at run time) give the same bits.
#pragma once

#include <cstdint>

namespace dagpam::parallel {

// One row of a mask: element i belongs to word i % 4 of philox4x32({i / 4, c1, c2, c3}, key) and is
// kept where that word >= threshold. See parallel/random.h for the counters of each site.
struct DropoutRow {
  uint32_t c1 = 0, c2 = 0, c3 = 0;
  uint64_t key = 0;
  uint32_t threshold = 0;  // dropout_threshold(p)
  double keep_scale = 1;   // 1 / (1 - p), rounded to the element type before use
};

// scale[j] <- keep_scale where element first + j is kept, else 0, for j in [0, n). 0 <= first,
// first + n <= 2^34.
void fill_dropout_row(const DropoutRow& row, int64_t first, int64_t n, float* scale);
void fill_dropout_row(const DropoutRow& row, int64_t first, int64_t n, double* scale);

// y[j] <- x[j] * keep_scale where element j is kept, else +0, for j in [0, n). y may be x.
void apply_dropout_row(const DropoutRow& row, int64_t n, const float* x, float* y);
void apply_dropout_row(const DropoutRow& row, int64_t n, const double* x, double* y);

namespace detail {

struct RowKernels {
  void (*fill_float)(const DropoutRow&, int64_t, int64_t, float*);
  void (*fill_double)(const DropoutRow&, int64_t, int64_t, double*);
  void (*apply_float)(const DropoutRow&, int64_t, const float*, float*);
  void (*apply_double)(const DropoutRow&, int64_t, const double*, double*);
};
const RowKernels& plain_row_kernels();
const RowKernels* avx2_row_kernels();  // nullptr where this processor or build lacks AVX2

}  // namespace detail
}  // namespace dagpam::parallel

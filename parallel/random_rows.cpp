#include "parallel/random_rows.h"

#include <cstdint>

#include "parallel/random.h"
#include "parallel/random_rows_kernel.h"

namespace dagpam::parallel {
namespace detail {
namespace {

struct PlainDraw {
  static void draw(const DropoutRow& row, uint32_t first_counter, int64_t counters,
                   uint32_t* words) {
    for (int64_t i = 0; i < counters; ++i) {
      const auto drawn =
          philox4x32({first_counter + static_cast<uint32_t>(i), row.c1, row.c2, row.c3}, row.key);
      for (size_t word = 0; word < 4; ++word) {
        words[4 * i + static_cast<int64_t>(word)] = drawn[word];
      }
    }
  }
};

const RowKernels& chosen() {
  static const RowKernels& kernels =
      avx2_row_kernels() != nullptr ? *avx2_row_kernels() : plain_row_kernels();
  return kernels;
}

}  // namespace

const RowKernels& plain_row_kernels() { return kKernels<PlainDraw>; }

}  // namespace detail

void fill_dropout_row(const DropoutRow& row, int64_t first, int64_t n, float* scale) {
  detail::chosen().fill_float(row, first, n, scale);
}

void fill_dropout_row(const DropoutRow& row, int64_t first, int64_t n, double* scale) {
  detail::chosen().fill_double(row, first, n, scale);
}

void apply_dropout_row(const DropoutRow& row, int64_t n, const float* x, float* y) {
  detail::chosen().apply_float(row, n, x, y);
}

void apply_dropout_row(const DropoutRow& row, int64_t n, const double* x, double* y) {
  detail::chosen().apply_double(row, n, x, y);
}

}  // namespace dagpam::parallel

// parallel/column_sum_part.h: what one thread adds up of the columns of a matrix, as a function
// that the CUDA kernel and host tests compile alike.
#pragma once

#include <cstdint>

#include "parallel/column_tiles.h"

namespace dagpam::parallel {

// x [R, C], rows `row_step` elements apart, in device (or host) memory.
template <class Real>
struct ColumnSumProblem {
  const Real* x;
  int64_t rows, width, row_step;
};

// Adds to `sums` those of the thread's rows, in their order.
template <int kPack, class Real>
DAGPAM_ROW_FUNCTION void column_sum_part(const ColumnSumProblem<Real>& p, const TileThread& own,
                                         float (&sums)[kPack]) {
  constexpr int kAtOnce = 4;  // rows asked for before the first is added
  const Real* const x = p.x + own.column;
  int64_t row = own.first;
  for (; row + (kAtOnce - 1) * own.step < p.rows; row += kAtOnce * own.step) {
    rows::Pack<Real, kPack> read[kAtOnce];
    for (int k = 0; k < kAtOnce; ++k) {
      read[k] = rows::load_pack<kPack>(x + (row + k * own.step) * p.row_step);
    }
    for (int k = 0; k < kAtOnce; ++k) {
      for (int i = 0; i < kPack; ++i) sums[i] += rows::widen(read[k].x[i]);
    }
  }
  for (; row < p.rows; row += own.step) {
    const auto read = rows::load_pack<kPack>(x + row * p.row_step);
    for (int i = 0; i < kPack; ++i) sums[i] += rows::widen(read.x[i]);
  }
}

}  // namespace dagpam::parallel

// parallel/random_rows_kernel.h: the loops of random_rows.h over a source of words. Compiled once
// for each instruction set, so everything is in an unnamed namespace and nothing of the standard
// library is used: a shared inline function could be linked from the AVX2 copy into a program that
// runs without AVX2.
#pragma once

#include <cstdint>

#include "parallel/random_rows.h"

namespace dagpam::parallel::detail {
namespace {

// Words are drawn into a buffer that stays in the first-level cache: 64 counters at a time.
constexpr int64_t kCountersPerDraw = 64;
constexpr int64_t kWordsPerDraw = 4 * kCountersPerDraw;

// Draw: static void draw(const DropoutRow&, uint32_t first_counter, uint32_t words[kWordsPerDraw]).
// Use: void use(int64_t j, const uint32_t* words, int64_t count), for elements j to j + count of
// the row.
template <class Draw, class Use>
inline void for_each_block(const DropoutRow& row, int64_t first, int64_t n, const Use& use) {
  alignas(64) uint32_t words[kWordsPerDraw];
  int64_t skip = first % 4;
  int64_t counter = first / 4;
  for (int64_t j = 0; j < n;) {
    const int64_t left = n - j, here = kWordsPerDraw - skip;
    const int64_t count = left < here ? left : here;
    Draw::draw(row, static_cast<uint32_t>(counter), (skip + count + 3) / 4, words);
    use(j, words + skip, count);
    j += count;
    counter += kCountersPerDraw;
    skip = 0;
  }
}

template <class Draw, class Real>
void fill_row(const DropoutRow& row, int64_t first, int64_t n, Real* scale) {
  const auto keep = static_cast<Real>(row.keep_scale);
  const uint32_t threshold = row.threshold;
  for_each_block<Draw>(row, first, n, [&](int64_t j, const uint32_t* words, int64_t count) {
    Real* out = scale + j;
    for (int64_t i = 0; i < count; ++i) {
      out[i] = words[i] >= threshold ? keep : Real(0);
    }
  });
}

template <class Draw, class Real>
void apply_row(const DropoutRow& row, int64_t n, const Real* x, Real* y) {
  const auto keep = static_cast<Real>(row.keep_scale);
  const uint32_t threshold = row.threshold;
  for_each_block<Draw>(row, 0, n, [&](int64_t j, const uint32_t* words, int64_t count) {
    const Real* in = x + j;
    Real* out = y + j;
    for (int64_t i = 0; i < count; ++i) {
      const Real kept = in[i] * keep;
      out[i] = words[i] >= threshold ? kept : Real(0);
    }
  });
}

template <class Draw>
inline constexpr RowKernels kKernels = {fill_row<Draw, float>, fill_row<Draw, double>,
                                        apply_row<Draw, float>, apply_row<Draw, double>};

}  // namespace
}  // namespace dagpam::parallel::detail

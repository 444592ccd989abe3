// parallel/loss_part.h: what one thread of a block does of a row of logits, as functions that the
// CUDA kernel and host tests compile alike (C++17, nothing of LibTorch). The CPU's own loops are
// loss_rows.h; tests hold the two to each other.
//
// Thread t of T takes symbols t, t + T, t + 2 T, ... of a row of V: neighbours read neighbours.
#pragma once

#include <cstdint>

#include "parallel/vector_math.h"

namespace dagpam::parallel {

// One call over rows of logits [R, V] in device (or host) memory.
struct LossProblem {
  int64_t rows = 0, symbols = 0;     // R, V (of this rank)
  const int64_t* targets = nullptr;  // [R]
  int64_t first = 0;                 // id of symbol 0
  int64_t ignored = -100;
  float* largest = nullptr;  // [R]
  float* sums = nullptr;     // [3, R]: exponentials, shifted target, sum of shifted
  float smoothing = 0;
  float vocab = 1;                  // of all ranks
  const float* upstream = nullptr;  // [R] gradient of each loss
};

template <class Real>
DAGPAM_ROW_FUNCTION float loss_largest_part(const Real* z, int64_t v, int64_t thread,
                                            int64_t threads) {
  float most = -__builtin_inff(), odd = 0;  // odd: NaN where a logit is
  for (int64_t i = thread; i < v; i += threads) {
    const float x = rows::widen(z[i]);
    most = x > most ? x : most;
    odd += x != x ? x : 0.0f;
  }
  return odd != odd ? odd : most;
}

// The larger, or NaN.
DAGPAM_ROW_FUNCTION float loss_larger(float a, float b) { return a != a || a > b ? a : b; }

template <class Real>
DAGPAM_ROW_FUNCTION void loss_sums_part(const Real* z, int64_t v, float largest, int64_t thread,
                                        int64_t threads, float* exponentials, float* shifted) {
  float e = 0, s = 0;
  for (int64_t i = thread; i < v; i += threads) {
    const float x = rows::widen(z[i]) - largest;
    e += rows::exponential(x);
    s += x;
  }
  *exponentials = e;
  *shifted = s;
}

// A row's factors of its gradient factor exp(z - largest) - shift, less `hit` at the target.
struct LossFactors {
  float factor, shift, hit;
};

DAGPAM_ROW_FUNCTION LossFactors loss_factors(const LossProblem& problem, int64_t row) {
  if (problem.targets[row] == problem.ignored) return {0, 0, 0};
  const float g = problem.upstream[row];
  return {g / problem.sums[row], g * problem.smoothing / problem.vocab,
          g * (1 - problem.smoothing)};
}

template <class Real>
DAGPAM_ROW_FUNCTION void loss_gradient_part(const LossProblem& problem, Real* z, int64_t row,
                                            int64_t thread, int64_t threads) {
  const LossFactors f = loss_factors(problem, row);
  const float largest = problem.largest[row];
  const int64_t target = problem.targets[row] - problem.first;
  for (int64_t i = thread; i < problem.symbols; i += threads) {
    const float p = f.factor * rows::exponential(rows::widen(z[i]) - largest) - f.shift;
    rows::narrow(i == target ? p - f.hit : p, z[i]);
  }
}

}  // namespace dagpam::parallel

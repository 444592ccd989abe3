// parallel/loss_part.h: what one thread of a block does of a row of logits, as functions that the
// CUDA kernel and host tests compile alike (C++17, nothing of LibTorch). The CPU's own loops are
// loss_rows.h; tests hold the two to each other.
//
// Thread t of T takes packs of 16 bytes t, t + T, t + 2 T, ... of those that lie in a row of V
// whole: neighbours read neighbours. A row may start and end within one: those few symbols are
// taken one by one.
#pragma once

#include <cstdint>

#include "parallel/row_pack.h"

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

// Where a row's packs are: `lead` symbols before the first, then `packs`, then what is left.
struct LossSpan {
  int64_t lead, packs;
};

template <class Real>
DAGPAM_ROW_FUNCTION LossSpan loss_span(const Real* z, int64_t v) {
  constexpr int64_t kPack = rows::kWidestPack<Real>;
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(z) % 16 / sizeof(Real));
  const int64_t lead = past == 0 ? 0 : kPack - past;
  return lead >= v ? LossSpan{v, 0} : LossSpan{lead, (v - lead) / kPack};
}

// Packs that a thread asks for before it works on the first.
constexpr int kLossPacks = 4;

// Of some symbols: the largest logit so far, and the sums over them of exp(z - largest) and of
// z - largest. NaN shows in the sums alone. The largest starts at a number, so that a symbol at
// minus infinity, which is legal, is not at the distance NaN from it.
struct LossRunning {
  float largest = -3.4028235e38f, exponentials = 0, shifted = 0, count = 0;
};

// The same, of another `largest` that is not smaller.
DAGPAM_ROW_FUNCTION LossRunning loss_rebased(const LossRunning& sums, float largest) {
  const float by = sums.largest - largest;
  if (by == 0 || sums.count == 0) return {largest, sums.exponentials, sums.shifted, sums.count};
  return {largest, sums.exponentials * rows::exponential(by), sums.shifted + sums.count * by,
          sums.count};
}

DAGPAM_ROW_FUNCTION LossRunning loss_joined(const LossRunning& a, const LossRunning& b) {
  const float largest = rows::larger_number(a.largest, b.largest);
  const LossRunning x = loss_rebased(a, largest), y = loss_rebased(b, largest);
  return {largest, x.exponentials + y.exponentials, x.shifted + y.shifted, x.count + y.count};
}

template <class Real, int kPack>
DAGPAM_ROW_FUNCTION void loss_take(const rows::Pack<Real, kPack>& z, LossRunning* sums) {
  float x[kPack];
  for (int i = 0; i < kPack; ++i) x[i] = rows::widen(z.x[i]);
  float most = sums->largest;
  for (int i = 0; i < kPack; ++i) most = rows::larger_number(x[i], most);
  if (most > sums->largest) *sums = loss_rebased(*sums, most);
  for (int i = 0; i < kPack; ++i) {
    const float shifted = x[i] - most;
    sums->exponentials += rows::exponential(shifted);
    sums->shifted += shifted;
  }
  sums->count += kPack;
}

// In one pass: sums are made to the largest so far, and made anew where a larger one comes.
template <class Real>
DAGPAM_ROW_FUNCTION LossRunning loss_sums_part(const Real* z, int64_t v, int64_t thread,
                                               int64_t threads) {
  constexpr int kPack = rows::kWidestPack<Real>;
  const LossSpan span = loss_span(z, v);
  LossRunning sums;
  for (int64_t i = thread; i < span.lead; i += threads) loss_take(rows::load_pack<1>(z + i), &sums);
  const Real* const body = z + span.lead;
  int64_t pack = thread;
  for (; pack + (kLossPacks - 1) * threads < span.packs; pack += kLossPacks * threads) {
    rows::Pack<Real, kPack> read[kLossPacks];
    for (int k = 0; k < kLossPacks; ++k) {
      read[k] = rows::load_pack<kPack>(body + (pack + k * threads) * kPack);
    }
    for (int k = 0; k < kLossPacks; ++k) loss_take(read[k], &sums);
  }
  for (; pack < span.packs; pack += threads) {
    loss_take(rows::load_pack<kPack>(body + pack * kPack), &sums);
  }
  for (int64_t i = span.lead + span.packs * kPack + thread; i < v; i += threads) {
    loss_take(rows::load_pack<1>(z + i), &sums);
  }
  return sums;
}

// Writes a row's `largest` and sums of all its threads.
template <class Real>
DAGPAM_ROW_FUNCTION void loss_write_sums(const LossProblem& problem, const Real* z, int64_t row,
                                         const LossRunning& sums) {
  const int64_t target = problem.targets[row] - problem.first;
  const bool here = target >= 0 && target < problem.symbols;
  problem.largest[row] = sums.largest;
  problem.sums[row] = sums.exponentials;
  problem.sums[problem.rows + row] = here ? rows::widen(z[target]) - sums.largest : 0.0f;
  problem.sums[2 * problem.rows + row] = sums.shifted;
}

// A row's sums, made to its `largest` of this rank, made to `all`, the largest of all ranks, which
// then takes its place.
DAGPAM_ROW_FUNCTION void loss_rebase_row(const LossProblem& problem, const float* all,
                                         int64_t row) {
  const LossRunning own{problem.largest[row], problem.sums[row],
                        problem.sums[2 * problem.rows + row], static_cast<float>(problem.symbols)};
  const int64_t target = problem.targets[row] - problem.first;
  const bool here = target >= 0 && target < problem.symbols;
  const LossRunning sums = loss_rebased(own, all[row]);
  if (here) problem.sums[problem.rows + row] += own.largest - sums.largest;
  problem.largest[row] = sums.largest;
  problem.sums[row] = sums.exponentials;
  problem.sums[2 * problem.rows + row] = sums.shifted;
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

// `target` counts from the pack's first symbol.
template <class Real, int kPack>
DAGPAM_ROW_FUNCTION void loss_gradient_pack(const rows::Pack<Real, kPack>& z, const LossFactors& f,
                                            float largest, int64_t target, Real* to) {
  float p[kPack];
  for (int i = 0; i < kPack; ++i) {
    p[i] = f.factor * rows::exponential(rows::widen(z.x[i]) - largest) - f.shift;
  }
  if (target >= 0 && target < kPack) {
    for (int i = 0; i < kPack; ++i) p[i] = i == target ? p[i] - f.hit : p[i];
  }
  rows::store_pack(p, to);
}

template <class Real>
DAGPAM_ROW_FUNCTION void loss_gradient_part(const LossProblem& problem, Real* z, int64_t row,
                                            int64_t thread, int64_t threads) {
  constexpr int kPack = rows::kWidestPack<Real>;
  const LossFactors f = loss_factors(problem, row);
  const float largest = problem.largest[row];
  const int64_t target = problem.targets[row] - problem.first, v = problem.symbols;
  const LossSpan span = loss_span(z, v);
  for (int64_t i = thread; i < span.lead; i += threads) {
    loss_gradient_pack(rows::load_pack<1>(z + i), f, largest, target - i, z + i);
  }
  int64_t i = span.lead + thread * kPack;
  const int64_t step = threads * kPack, end = span.lead + span.packs * kPack;
  for (; i + (kLossPacks - 1) * step < end; i += kLossPacks * step) {
    rows::Pack<Real, kPack> read[kLossPacks];
    for (int k = 0; k < kLossPacks; ++k) read[k] = rows::load_pack<kPack>(z + i + k * step);
    for (int k = 0; k < kLossPacks; ++k) {
      const int64_t at = i + k * step;
      loss_gradient_pack(read[k], f, largest, target - at, z + at);
    }
  }
  for (; i < end; i += step) {
    loss_gradient_pack(rows::load_pack<kPack>(z + i), f, largest, target - i, z + i);
  }
  for (i = end + thread; i < v; i += threads) {
    loss_gradient_pack(rows::load_pack<1>(z + i), f, largest, target - i, z + i);
  }
}

}  // namespace dagpam::parallel

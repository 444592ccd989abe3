// trainer/kernels/norm_part.h: what one thread of those that share a row does of a norm and of its
// gradient, as functions that the CUDA kernels and host tests compile alike (C++17, nothing of
// LibTorch). The CPU's own loops are step_rows.h; tests hold the two to each other.
//
// Thread t of T takes packs t, t + T, t + 2 T, ... of a row, each of kPack neighbours that are read
// at once, and keeps them: kElements in all, those past the row's end left out. kPack divides the
// row's width, and rows start at multiples of it.
//
// Legend: R rows, C channels, P parts of the weights' gradients.
#pragma once

#include <cmath>
#include <cstdint>

#include "parallel/vector_math.h"

// Held elements are registers only where no index is left to run time.
#ifdef __CUDA_ARCH__
#define DAGPAM_NORM_UNROLL _Pragma("unroll")
#else
#define DAGPAM_NORM_UNROLL
#endif

namespace dagpam::trainer::kernels {

// Rows in the GPU's memory (of tests: the host's); absent ones are null.
template <class Real>
struct NormProblem {
  int64_t rows = 0, width = 0;
  const Real *x = nullptr, *y = nullptr;          // [R, C]; y may be absent: s is x then
  const Real *weight = nullptr, *bias = nullptr;  // [C]; bias may be absent
  Real *s = nullptr, *normed = nullptr;           // [R, C]; s <- x + y
  float* stats = nullptr;                         // [R, 2]: mean (RMS norm: 0), 1 / deviation
  float eps = 0;
  bool rms = false;
};

template <class Real>
struct NormGradientProblem {
  int64_t rows = 0, width = 0;
  const Real *dy = nullptr, *s = nullptr, *add = nullptr;  // [R, C]; add may be absent
  const Real* weight = nullptr;                            // [C]
  const float* stats = nullptr;                            // [R, 2]
  Real* dx = nullptr;                                      // [R, C]
  Real *dweight = nullptr, *dbias = nullptr;               // [C]; dbias may be absent
  float* sums = nullptr;  // [P, 2, C] of weight and bias, without dbias [P, C]
  int64_t parts = 0;      // P
  bool rms = false;
};

template <class Real, int kPack>
struct alignas(sizeof(Real) * kPack) NormPack {
  Real at[kPack];
};

// Of memory that no thread writes meanwhile: a GPU may then read ahead of its writes.
template <class Real, int kPack>
DAGPAM_ROW_FUNCTION NormPack<Real, kPack> norm_read(const Real* from) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(Real) * kPack == sizeof(uint4)) {
    const uint4 bits = __ldg(reinterpret_cast<const uint4*>(from));
    NormPack<Real, kPack> pack;
    __builtin_memcpy(&pack, &bits, sizeof pack);
    return pack;
  }
#endif
  return *reinterpret_cast<const NormPack<Real, kPack>*>(from);
}

template <class Real, int kPack>
DAGPAM_ROW_FUNCTION void norm_write(const NormPack<Real, kPack>& pack, Real* to) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(Real) * kPack ==
                sizeof(uint4)) {  // by assignment some are written in quarters
    uint4 bits;
    __builtin_memcpy(&bits, &pack, sizeof bits);
    __stwb(reinterpret_cast<uint4*>(to), bits);
    return;
  }
#endif
  *reinterpret_cast<NormPack<Real, kPack>*>(to) = pack;
}

// Two at once, as narrow() rounds them: a GPU has an instruction for it.
DAGPAM_ROW_FUNCTION void narrow_two(float x, float y, parallel::rows::Bf16* out) {
#ifdef __CUDA_ARCH__
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
  __builtin_memcpy(out, &both, sizeof both);
#else
  parallel::rows::narrow(x, out[0]);
  parallel::rows::narrow(y, out[1]);
#endif
}
DAGPAM_ROW_FUNCTION void narrow_two(float x, float y, float* out) {
  out[0] = x;
  out[1] = y;
}

template <class Real, int kPack>
DAGPAM_ROW_FUNCTION NormPack<Real, kPack> norm_rounded(const float (&x)[kPack]) {
  NormPack<Real, kPack> pack;
  if constexpr (kPack == 1) {
    parallel::rows::narrow(x[0], pack.at[0]);
  } else {
    for (int i = 0; i < kPack; i += 2) narrow_two(x[i], x[i + 1], &pack.at[i]);
  }
  return pack;
}

// First channel of a thread's pack `pack`.
template <int kPack>
DAGPAM_ROW_FUNCTION int64_t norm_channel(int64_t thread, int64_t threads, int pack) {
  return (thread + pack * threads) * kPack;
}

// held <- this thread's of the row, of the sum as its type rounds it, which goes to s; 0 past its
// end. Gives their sum.
template <int kPack, int kElements, class Real>
DAGPAM_ROW_FUNCTION float norm_load(const NormProblem<Real>& p, int64_t row, int64_t thread,
                                    int64_t threads, float (&held)[kElements]) {
  NormPack<Real, kPack> x[kElements / kPack] = {}, y[kElements / kPack];
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {  // all reads under way before any is used
    const int64_t channel = norm_channel<kPack>(thread, threads, pack);
    if (channel >= p.width) continue;
    x[pack] = norm_read<Real, kPack>(p.x + row * p.width + channel);
    if (p.y != nullptr) y[pack] = norm_read<Real, kPack>(p.y + row * p.width + channel);
  }
  float sum = 0;
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {
    const int64_t channel = norm_channel<kPack>(thread, threads, pack);
    if (p.y != nullptr && channel < p.width) {
      float both[kPack];
      for (int i = 0; i < kPack; ++i) {
        both[i] = parallel::rows::widen(x[pack].at[i]) + parallel::rows::widen(y[pack].at[i]);
      }
      x[pack] = norm_rounded<Real>(both);
      norm_write(x[pack], p.s + row * p.width + channel);
    }
    for (int i = 0; i < kPack; ++i) {
      held[pack * kPack + i] = parallel::rows::widen(x[pack].at[i]);
      sum += held[pack * kPack + i];
    }
  }
  return sum;
}

// Sum of squares about the mean: no cancellation.
template <int kPack, int kElements>
DAGPAM_ROW_FUNCTION float norm_squares(int64_t width, int64_t thread, int64_t threads, float mean,
                                       const float (&held)[kElements]) {
  float squares = 0;
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {
    if (norm_channel<kPack>(thread, threads, pack) >= width) continue;
    for (int i = 0; i < kPack; ++i) {
      const float off = held[pack * kPack + i] - mean;
      squares += off * off;
    }
  }
  return squares;
}

DAGPAM_ROW_FUNCTION float norm_scale(int64_t width, float squares, float eps) {
  return 1.0f / std::sqrt(squares * (1.0f / static_cast<float>(width)) + eps);
}

template <int kPack, int kElements, class Real>
DAGPAM_ROW_FUNCTION void norm_store(const NormProblem<Real>& p, int64_t row, int64_t thread,
                                    int64_t threads, float mean, float scale,
                                    const float (&held)[kElements]) {
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {
    const int64_t channel = norm_channel<kPack>(thread, threads, pack);
    if (channel >= p.width) continue;
    const auto weight = norm_read<Real, kPack>(p.weight + channel);
    NormPack<Real, kPack> bias = {};
    if (p.bias != nullptr) bias = norm_read<Real, kPack>(p.bias + channel);
    float out[kPack];
    for (int i = 0; i < kPack; ++i) {
      out[i] = (held[pack * kPack + i] - mean) * scale * parallel::rows::widen(weight.at[i]) +
               parallel::rows::widen(bias.at[i]);
    }
    norm_write(norm_rounded<Real>(out), p.normed + row * p.width + channel);
  }
}

// A thread's of a row of the gradient, and its sums over the rows that it takes.
template <class Real, int kPack, int kElements, bool kBias>
struct NormGradientThread {
  static constexpr int kPacks = kElements / kPack;
  NormPack<Real, kPack> dy[kPacks], s[kPacks], add[kPacks];
  float dweight[kElements] = {};
  float dbias[kBias ? kElements : 1] = {};
};

// Sums over a row of dy w xhat and of dy w.
struct NormSlopes {
  float along, level;
};

template <class Real, int kPack, int kElements, bool kBias>
DAGPAM_ROW_FUNCTION NormSlopes
norm_gradient_load(const NormGradientProblem<Real>& p, int64_t row, int64_t thread, int64_t threads,
                   NormGradientThread<Real, kPack, kElements, kBias>& own) {
  const float mean = p.stats[2 * row], scale = p.stats[2 * row + 1];
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {  // all reads under way before any is used
    const int64_t channel = norm_channel<kPack>(thread, threads, pack);
    const int64_t at = row * p.width + channel;
    if (channel >= p.width) continue;
    own.dy[pack] = norm_read<Real, kPack>(p.dy + at);
    own.s[pack] = norm_read<Real, kPack>(p.s + at);
    if (p.add != nullptr) own.add[pack] = norm_read<Real, kPack>(p.add + at);
  }
  NormSlopes sums{0, 0};
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {
    const int64_t channel = norm_channel<kPack>(thread, threads, pack);
    if (channel >= p.width) continue;
    const auto weight = norm_read<Real, kPack>(p.weight + channel);
    for (int i = 0; i < kPack; ++i) {
      const float d = parallel::rows::widen(own.dy[pack].at[i]);
      const float normed = (parallel::rows::widen(own.s[pack].at[i]) - mean) * scale;
      const float slope = d * parallel::rows::widen(weight.at[i]);
      sums.along += slope * normed;
      sums.level += slope;
      own.dweight[pack * kPack + i] += d * normed;
      if constexpr (kBias) own.dbias[pack * kPack + i] += d;
    }
  }
  return sums;
}

// `sums` are those of the whole row.
template <class Real, int kPack, int kElements, bool kBias>
DAGPAM_ROW_FUNCTION void norm_gradient_store(
    const NormGradientProblem<Real>& p, int64_t row, int64_t thread, int64_t threads,
    NormSlopes sums, const NormGradientThread<Real, kPack, kElements, kBias>& own) {
  const float mean = p.stats[2 * row], scale = p.stats[2 * row + 1];
  const float inverse = 1.0f / static_cast<float>(p.width);
  const float along = sums.along * inverse, level = p.rms ? 0.0f : sums.level * inverse;
  DAGPAM_NORM_UNROLL
  for (int pack = 0; pack < kElements / kPack; ++pack) {
    const int64_t channel = norm_channel<kPack>(thread, threads, pack);
    if (channel >= p.width) continue;
    const auto weight = norm_read<Real, kPack>(p.weight + channel);
    float out[kPack];
    for (int i = 0; i < kPack; ++i) {
      const float normed = (parallel::rows::widen(own.s[pack].at[i]) - mean) * scale;
      const float slope =
          parallel::rows::widen(own.dy[pack].at[i]) * parallel::rows::widen(weight.at[i]);
      float d = scale * (slope - level - normed * along);
      if (p.add != nullptr) d += parallel::rows::widen(own.add[pack].at[i]);
      out[i] = d;
    }
    norm_write(norm_rounded<Real>(out), p.dx + row * p.width + channel);
  }
}

// Of column `column` of the parts [P, columns] every `step`-th one from `first` on, added up.
DAGPAM_ROW_FUNCTION float norm_column_part(const float* sums, int64_t parts, int64_t columns,
                                           int64_t column, int64_t first, int64_t step) {
  float sum = 0;
  for (int64_t part = first; part < parts; part += step) sum += sums[part * columns + column];
  return sum;
}

}  // namespace dagpam::trainer::kernels

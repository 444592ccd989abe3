// parallel/vector_math.h: elementary functions in float32 that a compiler turns into vector code,
// and that CUDA compiles too (C++17, nothing of the standard library). For row kernels: all is of
// internal linkage, so that a copy made for a newer processor is never linked into common code.
//
// On a GPU the exponential and the reciprocal are instructions of its own and rounding to bfloat16
// is one: of polynomials and integer arithmetic its rows would take longer than of their memory.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define DAGPAM_ROW_FUNCTION static __host__ __device__ inline
#else
#define DAGPAM_ROW_FUNCTION static inline
#endif

namespace dagpam::parallel::rows {

// bfloat16 in memory.
struct Bf16 {
  uint16_t bits;
};

DAGPAM_ROW_FUNCTION uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits;
}

DAGPAM_ROW_FUNCTION float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}

DAGPAM_ROW_FUNCTION float widen(float x) { return x; }
DAGPAM_ROW_FUNCTION float widen(Bf16 x) { return float_of(static_cast<uint32_t>(x.bits) << 16); }

DAGPAM_ROW_FUNCTION void narrow(float x, float& out) { out = x; }
// To the nearest, ties to even; NaN stays.
DAGPAM_ROW_FUNCTION void narrow(float x, Bf16& out) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
#else
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out.bits = static_cast<uint16_t>(x != x ? 0x7fc0u : rounded);
#endif
}

// The larger, or the one that is a number; `b` is one.
DAGPAM_ROW_FUNCTION float larger_number(float a, float b) {
#ifdef __CUDA_ARCH__
  return fmaxf(a, b);
#else
  return a > b ? a : b;
#endif
}

// 1 / x; on a GPU to one unit in the last place, for normal x whose reciprocal is normal.
DAGPAM_ROW_FUNCTION float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}

// exp(x) = 2^n exp(r), |r| <= ln(2) / 2; the polynomial is a minimax fit of relative error 3e-9.
// 0 below -87.3, at most 2.9e38, NaN stays. On a GPU right to 2 + 1.2 |x| units in the last place,
// and infinite where it is too large.
DAGPAM_ROW_FUNCTION float exponential(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504f));
  return y;
#else
  constexpr float kLowest = -87.33654f;  // below, 2^n would be subnormal
  constexpr float kHighest = 88.37626f;  // above, 2^n would overflow
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to an integer
  float c = x < kLowest ? kLowest : x;   // in this order NaN stays
  c = c > kHighest ? kHighest : c;
  const float shifted = c * 1.44269504f + kRound;
  const float n = shifted - kRound;
  float r = c - n * 0.693145752f;  // ln(2) in two parts: n times the first is exact
  r = r - n * 1.42860677e-6f;
  float p = 0.00138143206f;
  p = p * r + 0.00836885162f;
  p = p * r + 0.0416684002f;
  p = p * r + 0.166665196f;
  p = p * r + 0.49999994f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t power = (bits_of(shifted) << 23) + 0x3f800000u;
  return x < kLowest ? 0.0f : p * float_of(power);
#endif
}

// The standard normal's distribution at x, and its density there.
struct Normal {
  float below;    // 1/2 erfc(-x / sqrt 2)
  float density;  // exp(-x^2 / 2) / sqrt(2 pi)
};

// below(-|x|) = exp(-x^2 / 2) t Q(t), t = 1 / (1 + 0.34 |x|); Q is a minimax fit of relative error
// 2.3e-8 for |x| <= 13, past which the exponential is 0.
DAGPAM_ROW_FUNCTION Normal normal(float x) {
  const float size = x < 0.0f ? -x : x;
  const float bell = exponential(-0.5f * x * x);
  const float t = reciprocal(1.0f + 0.34f * size);
  float q = -0.0266262275f;
  q = q * t + 0.141876919f;
  q = q * t - 0.277863828f;
  q = q * t + 0.207372499f;
  q = q * t - 0.0481399457f;
  q = q * t + 0.116742923f;
  q = q * t + 0.1148634f;
  q = q * t + 0.136156177f;
  q = q * t + 0.135618094f;
  const float tail = bell * t * q;
  return {x < 0.0f ? tail : 1.0f - tail, 0.398942280f * bell};
}

// 1 / (1 + exp(-x))
DAGPAM_ROW_FUNCTION float sigmoid(float x) { return reciprocal(1.0f + exponential(-x)); }

}  // namespace dagpam::parallel::rows

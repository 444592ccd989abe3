// attention/combine_row.h: Y = (1 + l+) O+ - l- O- of the answers of daGPAM's two maps, and its
// gradients, some elements of a row at a time, as functions that the CUDA kernels and the CPU's
// loops compile alike (C++17, nothing of LibTorch).
//
// Legend: B batch, N queries, H query heads, D head width; a token is one of the B N queries.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define DAGPAM_HOST_DEVICE __host__ __device__
#else
#define DAGPAM_HOST_DEVICE
#endif

namespace dagpam::attention {

// The bits of a bfloat16.
struct Bits16 {
  uint16_t bits;
};

DAGPAM_HOST_DEVICE inline float widened(float x) { return x; }
DAGPAM_HOST_DEVICE inline float widened(Bits16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

DAGPAM_HOST_DEVICE inline void rounded(float x, float* to) { *to = x; }
// To the nearest, ties to even; what is not a number stays so.
DAGPAM_HOST_DEVICE inline void rounded(float x, Bits16* to) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const bool number = x == x;
  to->bits = number ? static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)
                    : static_cast<uint16_t>(0x7fc0);
}

struct CombineShape {
  int64_t batch = 0, queries = 0, heads = 0, width = 0;
  // Of `both` [B, N, 2 H, D], heads O+_0, O-_0, O+_1, O-_1, ...: from one to the next, in elements;
  // those of D lie next to each other.
  int64_t batch_step = 0, query_step = 0, head_step = 0;
  bool one_lambda = false;  // for all heads
};

// The sums of dY O+ and dY O- over some elements.
struct CombineSums {
  float plus = 0, minus = 0;
};

// Neighbours that are read and written at once.
template <class Real, int kPack>
struct alignas(sizeof(Real) * kPack) CombinePack {
  Real x[kPack];
};

template <class Real, int kPack>
DAGPAM_HOST_DEVICE inline const CombinePack<Real, kPack>& pack_at(const Real* from) {
  return *reinterpret_cast<const CombinePack<Real, kPack>*>(from);
}

// First element of O+ of a token's head in `both`; O- is head_step further on.
DAGPAM_HOST_DEVICE inline int64_t place_in_both(const CombineShape& s, int64_t token,
                                                int64_t head) {
  return token / s.queries * s.batch_step + token % s.queries * s.query_step +
         2 * head * s.head_step;
}

// y [B, N, H, D] contiguous, of the elements `first` to `first` + kPack - 1 of a token's head.
template <int kPack, class Real>
DAGPAM_HOST_DEVICE inline void combine_pack(const CombineShape& s, const float* plus,
                                            const float* minus, int64_t token, int64_t head,
                                            int64_t first, const Real* both, Real* y) {
  const float a = 1 + plus[s.one_lambda ? 0 : head], b = minus[s.one_lambda ? 0 : head];
  const int64_t place = place_in_both(s, token, head) + first;
  const auto o_plus = pack_at<Real, kPack>(both + place);
  const auto o_minus = pack_at<Real, kPack>(both + place + s.head_step);
  CombinePack<Real, kPack> out;
  for (int i = 0; i < kPack; ++i) {
    rounded(a * widened(o_plus.x[i]) - b * widened(o_minus.x[i]), &out.x[i]);
  }
  *reinterpret_cast<CombinePack<Real, kPack>*>(y + (token * s.heads + head) * s.width + first) =
      out;
}

// d_both [B, N, 2 H, D] and dy [B, N, H, D] contiguous. Adds to `sums`.
template <int kPack, class Real>
DAGPAM_HOST_DEVICE inline void combine_pack_backward(const CombineShape& s, const float* plus,
                                                     const float* minus, int64_t token,
                                                     int64_t head, int64_t first, const Real* both,
                                                     const Real* dy, Real* d_both,
                                                     CombineSums* sums) {
  const float a = 1 + plus[s.one_lambda ? 0 : head], b = minus[s.one_lambda ? 0 : head];
  const int64_t place = place_in_both(s, token, head) + first;
  const int64_t row = (token * s.heads + head) * s.width;
  const auto o_plus = pack_at<Real, kPack>(both + place);
  const auto o_minus = pack_at<Real, kPack>(both + place + s.head_step);
  const auto d = pack_at<Real, kPack>(dy + row + first);
  CombinePack<Real, kPack> d_plus, d_minus;
  for (int i = 0; i < kPack; ++i) {
    const float g = widened(d.x[i]);
    sums->plus += g * widened(o_plus.x[i]);
    sums->minus += g * widened(o_minus.x[i]);
    rounded(a * g, &d_plus.x[i]);
    rounded(-b * g, &d_minus.x[i]);
  }
  Real* const to = d_both + 2 * row + first;
  *reinterpret_cast<CombinePack<Real, kPack>*>(to) = d_plus;
  *reinterpret_cast<CombinePack<Real, kPack>*>(to + s.width) = d_minus;
}

}  // namespace dagpam::attention

// parallel/row_pack.h: neighbours of a row that are read and written at once, for functions that
// CUDA kernels and host tests compile alike (see vector_math.h).
#pragma once

#include <cstdint>

#include "parallel/vector_math.h"

namespace dagpam::parallel::rows {

// Elements in the 16 bytes that a GPU's thread moves at once.
template <class Real>
constexpr int kWidestPack = 16 / static_cast<int>(sizeof(Real));

template <class Real, int kPack>
struct alignas(sizeof(Real) * kPack) Pack {
  Real x[kPack];
};

// `from` lies at a multiple of the pack's size, as `to` of store_pack does.
template <int kPack, class Real>
DAGPAM_ROW_FUNCTION Pack<Real, kPack> load_pack(const Real* from) {
  return *reinterpret_cast<const Pack<Real, kPack>*>(from);
}

template <class Real, int kPack>
DAGPAM_ROW_FUNCTION void store_pack(const float (&x)[kPack], Real* to) {
  Pack<Real, kPack> out;
  for (int i = 0; i < kPack; ++i) narrow(x[i], out.x[i]);
  *reinterpret_cast<Pack<Real, kPack>*>(to) = out;
}

// Whether packs of the widest size may start here.
DAGPAM_ROW_FUNCTION bool starts_pack(const void* at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

}  // namespace dagpam::parallel::rows

// parallel/conversion_part.h: what one thread of a block does of numbers that go from one tensor to
// another of another type, as functions that the CUDA kernel and host tests compile alike (C++17,
// nothing of LibTorch).
#pragma once

#include <cstdint>

#include "parallel/vector_math.h"

namespace dagpam::parallel {

inline constexpr int kConversionPack = 8;            // elements that are read at once
inline constexpr int64_t kOfConversionBlock = 8192;  // elements, a multiple of it
inline constexpr int kMostConversions = 96;          // of a launch: its arguments fit 4 KiB

template <class From, class To>
struct ConversionPiece {
  const From* from = nullptr;
  To* to = nullptr;
  int64_t count = 0;
  int32_t first_block = 0;  // of those that its elements have
  bool add = false;         // to <- to + from, else to <- from
  bool packed = false;      // both start at multiples of 16 bytes
};

template <class From, class To>
struct ConversionCall {
  ConversionPiece<From, To> pieces[kMostConversions];  // by first_block
  int32_t count = 0;
};

// The piece of a block: the last one that does not start behind it.
template <class From, class To>
DAGPAM_ROW_FUNCTION int conversion_of(const ConversionCall<From, To>& call, int32_t block) {
  int first = 0, end = call.count;
  while (end - first > 1) {
    const int middle = (first + end) / 2;
    call.pieces[middle].first_block <= block ? first = middle : end = middle;
  }
  return first;
}

template <class Real>
struct alignas(16) ConversionPack {
  Real at[kConversionPack];
};

template <class From, class To>
DAGPAM_ROW_FUNCTION void convert_one(From from, bool add, To& to) {
  const float x = rows::widen(from);
  rows::narrow(add ? rows::widen(to) + x : x, to);
}

// Thread t of T takes packs t, t + T, ... of a block's elements, and elements so where they are no
// packs.
template <class From, class To>
DAGPAM_ROW_FUNCTION void convert_part(const ConversionPiece<From, To>& piece, int32_t block,
                                      int64_t thread, int64_t threads) {
  const int64_t begin = (block - piece.first_block) * kOfConversionBlock;
  const int64_t left = piece.count - begin;
  const int64_t count = left < kOfConversionBlock ? left : kOfConversionBlock;
  const From* const from = piece.from + begin;
  To* const to = piece.to + begin;
  const int64_t whole = piece.packed ? count / kConversionPack * kConversionPack : 0;
  for (int64_t i = thread * kConversionPack; i < whole; i += threads * kConversionPack) {
    const auto in = *reinterpret_cast<const ConversionPack<From>*>(from + i);
    ConversionPack<To> out = {};
    if (piece.add) out = *reinterpret_cast<const ConversionPack<To>*>(to + i);
    for (int j = 0; j < kConversionPack; ++j) convert_one(in.at[j], piece.add, out.at[j]);
    *reinterpret_cast<ConversionPack<To>*>(to + i) = out;
  }
  for (int64_t i = whole + thread; i < count; i += threads) {
    convert_one(from[i], piece.add, to[i]);
  }
}

// Adds a piece, unless the call is full; `blocks` grows by its blocks.
template <class From, class To>
bool add_conversion(ConversionCall<From, To>& call, ConversionPiece<From, To> piece,
                    int32_t& blocks) {
  const int64_t more = (piece.count + kOfConversionBlock - 1) / kOfConversionBlock;
  if (call.count == kMostConversions || blocks + more > INT32_MAX) return false;
  piece.first_block = blocks;
  piece.packed = reinterpret_cast<uintptr_t>(piece.from) % 16 == 0 &&
                 reinterpret_cast<uintptr_t>(piece.to) % 16 == 0;
  call.pieces[call.count++] = piece;
  blocks += static_cast<int32_t>(more);
  return true;
}

}  // namespace dagpam::parallel

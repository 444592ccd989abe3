// parallel/shared_pieces.h: what the shared_*.cpp files divide tensors with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstring>

namespace dagpam::parallel {

// Elements [begin, begin + count) of a longer row.
struct Range {
  int64_t begin = 0, count = 0;
};

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A rank's share of `bytes`: whole lines of the cache, so that no two ranks write into one.
inline int64_t share_bytes(int size, int64_t bytes) {
  constexpr int64_t kLine = 64;
  return divide_up(divide_up(bytes, size), kLine) * kLine;
}

inline void copy_bytes(char* to, const char* from, int64_t bytes) {
  if (to != from && bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

inline char* memory(const at::Tensor& t) { return static_cast<char*>(t.data_ptr()); }

}  // namespace dagpam::parallel

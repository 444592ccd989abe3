// attention/hopper/tensor_map.h: how the copy engine is told of a tensor in global memory. Knows no
// torch and no CUDA.
#pragma once

#include <cstdint>

namespace dagpam::attention::hopper {

enum class Type { kBf16, kFp16 };

// A tensor [batch, rows, heads, width] of 16-bit numbers; strides in numbers, 1 in width. The copy
// engine takes data and strides that are multiples of 16 bytes.
struct Operand {
  const void* data = nullptr;
  int64_t batch = 0, rows = 0, heads = 0, width = 0;
  int64_t batch_stride = 0, row_stride = 0, head_stride = 0;
};

// CUtensorMap, which is opaque: 128 bytes.
struct alignas(128) TensorMap {
  uint64_t opaque[16];
};

// For boxes of `box_rows` rows by 64 columns in the 128-byte swizzle; rows past the end read as 0.
// Throws std::runtime_error with the driver's answer.
TensorMap encode(const Operand& operand, Type type, int box_rows);

}  // namespace dagpam::attention::hopper

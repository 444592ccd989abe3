// data/megatron_index.h: the .idx file of Megatron's indexed format, version 1
// (megatron/core/datasets/indexed_dataset.py).
//
// All little-endian, without padding, so the arrays are not aligned:
//   9 bytes "MMIDIDX\0\0" | u64 version = 1 | u8 type of the tokens | u64 sequences S | u64
//   boundaries B i32 tokens of each sequence [S] | i64 its first byte in .bin [S] | i64 document
//   boundaries [B]
// The boundaries are sequence numbers: 0 = b[0] <= b[1] <= ... <= b[B - 1] = S; document d holds
// the sequences [b[d], b[d + 1]). A multimodal index has i8 modes [S] after them, and is refused
// here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/token_type.h"

namespace dagpam::data {

inline constexpr char kMegatronMagic[] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
inline constexpr uint64_t kMegatronVersion = 1;
inline constexpr int64_t kMegatronHeaderBytes = 34;

struct MegatronIndex {
  TokenType type = TokenType::kU16;
  int64_t tokens = 0;
  int64_t sequences = 0;
  std::vector<int64_t> document_starts;  // first token of each document that holds any, ascending
};

// Reads and checks every field of `path`, whose .bin is `bin_bytes` long. Throws DataError naming
// the file, the field, its value and what was expected.
MegatronIndex read_megatron_index(const std::string& path, int64_t bin_bytes);

// The format's code of a type.
uint8_t megatron_code(TokenType type);

}  // namespace dagpam::data

// trainer/checkpoint/safetensors.h: the safetensors format (github.com/huggingface/safetensors).
//
// Eight bytes little-endian N; N bytes of UTF-8 JSON that start with '{' and may end in spaces;
// then the data in C order. The JSON maps each name to {"dtype", "shape", "data_offsets": [begin,
// end]}, relative to the data, and "__metadata__" to strings. The tensors cover the data without
// hole or overlap. The reader is strict and takes nothing on trust: what breaks a rule throws
// CheckpointError naming the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/blocks.h"
#include "trainer/checkpoint/boxes.h"

namespace dagpam::checkpoint {

inline constexpr int64_t kMaxHeaderBytes = 100'000'000;
inline constexpr size_t kMaxNameBytes = 1024;

// Bytes of an element; 0 for a name that is not known here (types below a byte are not).
int64_t dtype_bytes(std::string_view dtype);

struct SafetensorsEntry {
  std::string name, dtype;
  Shape shape;
  int64_t begin = 0, end = 0;  // bytes from the start of the file
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the data
  std::map<std::string, std::string> metadata;
};

// `json`: the header without its length; `data_begin`, `file_bytes`: where the data starts and
// ends.
SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_begin,
                                           int64_t file_bytes, const std::string& path);

// Reads the header of a file; longer ones than `max_header_bytes` are refused before they are read.
SafetensorsHeader read_safetensors_header(const InputFile& file,
                                          int64_t max_header_bytes = kMaxHeaderBytes);

// A tensor to write; `bytes` holds elements(shape) values.
struct SafetensorsTensor {
  std::string name, dtype;
  Shape shape;
  std::span<const std::byte> bytes;
};

// Writes header and data, wider types first, so that every tensor is aligned to its element. Throws
// CheckpointError where names repeat or sizes do not match.
void write_safetensors(BlockWriter& out, std::vector<SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace dagpam::checkpoint

// data/llmc_file.h: the header of llm.c's token files (dev/data/data_common.py, llmc/dataloader.h).
//
// 256 little-endian i32 (1024 bytes): magic, version, number of tokens, zeros; then the tokens:
// magic 20240520 version 1 for u16 (GPT-2), magic 20240801 version 7 for u32 (Llama 3).
#pragma once

#include <cstdint>

#include "data/input_file.h"
#include "data/token_type.h"

namespace dagpam::data {

inline constexpr int64_t kLlmcHeaderBytes = 1024;

struct LlmcHeader {
  TokenType type = TokenType::kU16;
  int64_t tokens = 0;
};

// Checks magic, version, count and the file's exact size. Throws DataError naming file, field,
// value and what was expected.
LlmcHeader read_llmc_header(const InputFile& file);

}  // namespace dagpam::data

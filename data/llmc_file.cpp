#include "data/llmc_file.h"

#include <array>
#include <string>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

struct Kind {
  int32_t magic;
  int32_t version;
  TokenType type;
};
constexpr std::array<Kind, 2> kKinds = {
    {{20240520, 1, TokenType::kU16}, {20240801, 7, TokenType::kU32}}};

[[noreturn]] void refuse(const InputFile& file, const std::string& field, int64_t value,
                         const std::string& expected) {
  throw DataError(file.path() + ": " + field + " is " + std::to_string(value) + ", expected " +
                  expected);
}

}  // namespace

LlmcHeader read_llmc_header(const InputFile& file) {
  if (file.size() < kLlmcHeaderBytes) {
    refuse(file, "its size", file.size(), "at least llm.c's header of 1024 bytes");
  }
  std::array<int32_t, kLlmcHeaderBytes / sizeof(int32_t)> header;
  file.read(0, header.data(), sizeof(header));
  for (const Kind& kind : kKinds) {
    if (header[0] != kind.magic) continue;
    if (header[1] != kind.version) refuse(file, "version", header[1], std::to_string(kind.version));
    const int64_t tokens = header[2];
    const int64_t bytes = kLlmcHeaderBytes + tokens * token_bytes(kind.type);
    if (tokens < 0 || file.size() != bytes) {
      const int64_t fitting = (file.size() - kLlmcHeaderBytes) / token_bytes(kind.type);
      refuse(file, "the number of tokens", tokens,
             std::to_string(fitting) + " in a file of " + std::to_string(file.size()) + " bytes");
    }
    return {kind.type, tokens};
  }
  refuse(file, "the magic number", header[0],
         "20240520 or 20240801 (llm.c); Megatron files are named without their extension");
}

}  // namespace dagpam::data

// data/token_type.h: the integer types in which token files hold ids.
#pragma once

#include <cstdint>

namespace dagpam::data {

enum class TokenType { kU8, kU16, kI32, kU32, kI64 };

constexpr int64_t token_bytes(TokenType type) {
  switch (type) {
    case TokenType::kU8:
      return 1;
    case TokenType::kU16:
      return 2;
    case TokenType::kI32:
    case TokenType::kU32:
      return 4;
    case TokenType::kI64:
      return 8;
  }
  return 0;
}

constexpr const char* token_type_name(TokenType type) {
  switch (type) {
    case TokenType::kU8:
      return "u8";
    case TokenType::kU16:
      return "u16";
    case TokenType::kI32:
      return "i32";
    case TokenType::kU32:
      return "u32";
    case TokenType::kI64:
      return "i64";
  }
  return "?";
}

}  // namespace dagpam::data

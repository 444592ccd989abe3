#include "configs/text.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>

namespace dagpam::configs {
namespace {

struct Decoded {
  uint32_t code = 0;
  size_t length = 0;  // 0: not UTF-8
};

Decoded decode(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return {};
  uint32_t code = first & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    const unsigned char next = byte(at + i);
    if ((next & 0xC0U) != 0x80) return {};
    code = code << 6 | (next & 0x3FU);
  }
  constexpr std::array<uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest.at(length) || code > 0x10FFFF || surrogate) return {};
  return {code, length};
}

// Programs that read lines split at these as well as at '\n'.
bool breaks_or_hides(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029;
}

std::string escaped(uint32_t code, size_t length) {
  if (length != 0 && code == '\n') return "\\n";
  if (length != 0 && code == '\t') return "\\t";
  if (length != 0 && code == '\r') return "\\r";
  std::array<char, 16> out{};
  std::snprintf(out.data(), out.size(), length < 2 ? "\\x%02x" : "\\u%04x", code);
  return out.data();
}

}  // namespace

std::string one_line(std::string_view text, size_t limit) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Decoded c = decode(text, at);
    std::string piece;
    if (c.length == 0) {
      piece = escaped(static_cast<unsigned char>(text[at]), 0);
    } else if (breaks_or_hides(c.code)) {
      piece = escaped(c.code, c.length);
    } else {
      piece = text.substr(at, c.length);
    }
    if (out.size() + piece.size() > limit) return out + "...";
    out += piece;
    at += c.length == 0 ? 1 : c.length;
  }
  return out;
}

size_t find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = decode(text, at).length;
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

size_t find_control_character(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Decoded c = decode(text, at);
    if (breaks_or_hides(c.code)) return at;
    at += c.length == 0 ? 1 : c.length;
  }
  return std::string_view::npos;
}

std::string shown(double value) {
  std::array<char, 40> out{};
  const auto result = std::to_chars(out.data(), out.data() + out.size(), value);
  return {out.data(), result.ptr};
}

}  // namespace dagpam::configs

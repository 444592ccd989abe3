#include "data/utf8.h"

#include <array>
#include <cstdio>
#include <cstring>

#include "data/text_error.h"

namespace dagpam::data {
namespace {

constexpr CodePoint kInvalid{};

uint32_t byte_at(std::string_view text, size_t i) { return static_cast<unsigned char>(text[i]); }

bool is_continuation(uint32_t byte) { return (byte & 0xC0u) == 0x80u; }

// Eight bytes at a time while all are ASCII; the offset of the first that may not be.
size_t skip_ascii(std::string_view text, size_t i) {
  constexpr uint64_t kHighBits = 0x8080808080808080u;
  while (i + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & kHighBits) != 0) break;
    i += 8;
  }
  return i;
}

std::string hex_byte(uint32_t byte) {
  std::array<char, 8> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "0x%02X", byte);
  return buffer.data();
}

}  // namespace

CodePoint decode_code_point(std::string_view text, size_t offset) {
  const uint32_t first = byte_at(text, offset);
  if (first < 0x80) return {first, 1};
  if (first < 0xC2 || first > 0xF4) return kInvalid;
  const int length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() - offset < static_cast<size_t>(length)) return kInvalid;
  uint32_t value = first & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) {
    const uint32_t next = byte_at(text, offset + static_cast<size_t>(i));
    if (!is_continuation(next)) return kInvalid;
    value = (value << 6) | (next & 0x3Fu);
  }
  const uint32_t smallest = length == 2 ? 0x80u : length == 3 ? 0x800u : 0x10000u;
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < smallest || value > 0x10FFFF || surrogate) return kInvalid;
  return {value, length};
}

void append_code_point(char32_t value, std::string& out) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0u | (value >> 6));
    put(0x80u | (value & 0x3Fu));
  } else if (value < 0x10000) {
    put(0xE0u | (value >> 12));
    put(0x80u | ((value >> 6) & 0x3Fu));
    put(0x80u | (value & 0x3Fu));
  } else {
    put(0xF0u | (value >> 18));
    put(0x80u | ((value >> 12) & 0x3Fu));
    put(0x80u | ((value >> 6) & 0x3Fu));
    put(0x80u | (value & 0x3Fu));
  }
}

size_t find_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (true) {
    i = skip_ascii(text, i);
    if (i >= text.size()) return text.size();
    const CodePoint point = decode_code_point(text, i);
    if (point.length == 0) return i;
    i += static_cast<size_t>(point.length);
  }
}

size_t cut_behind_character(std::string_view text, size_t limit) {
  const auto continues = [&text](size_t i) {
    return i < text.size() && is_continuation(byte_at(text, i));
  };
  size_t place = limit;
  while (place > 1 && continues(place)) --place;
  if (!continues(place)) return place;
  while (continues(limit)) ++limit;
  return limit;
}

int64_t count_code_points(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += is_continuation(static_cast<unsigned char>(c)) ? 0 : 1;
  return count;
}

bool is_whitespace(char32_t value) {
  if (value < 0x80) return value == ' ' || (value >= 0x09 && value <= 0x0D);
  return value == 0x85 || value == 0xA0 || value == 0x1680 ||
         (value >= 0x2000 && value <= 0x200A) || value == 0x2028 || value == 0x2029 ||
         value == 0x202F || value == 0x205F || value == 0x3000;
}

TextPosition locate(std::string_view text, size_t byte) {
  TextPosition position;
  position.byte = static_cast<int64_t>(byte);
  size_t line_start = 0;
  for (size_t i = 0; i < byte; ++i) {
    if (text[i] != '\n') continue;
    ++position.line;
    line_start = i + 1;
  }
  for (size_t i = line_start; i < byte; ++position.column) {
    const CodePoint point = decode_code_point(text, i);
    i += point.length == 0 ? 1 : static_cast<size_t>(point.length);
  }
  return position;
}

std::string to_string(const TextPosition& position) {
  return "byte " + std::to_string(position.byte) + " (line " + std::to_string(position.line) +
         ", column " + std::to_string(position.column) + ")";
}

std::string describe_code_point(char32_t value) {
  std::array<char, 16> code{};
  std::snprintf(code.data(), code.size(), "U+%04X", static_cast<unsigned>(value));
  const bool control = value < 0x20 || (value >= 0x7F && value < 0xA0);
  // Marks that would join the quote, change the direction of the line or show nothing.
  const bool unseen = (value >= 0x300 && value <= 0x36F) || value == 0xAD || value == 0x61C ||
                      (value >= 0x200B && value <= 0x200F) ||
                      (value >= 0x2028 && value <= 0x202E) ||
                      (value >= 0x2060 && value <= 0x206F) || value == 0xFEFF;
  if (control || unseen) return code.data();
  std::string text = "'";
  append_code_point(value, text);
  return text + "' (" + code.data() + ")";
}

void require_utf8(std::string_view text, const std::string& source) {
  const size_t bad = find_invalid_utf8(text);
  if (bad == text.size()) return;
  throw TextError(source, text, bad, "byte " + hex_byte(byte_at(text, bad)) + " is not UTF-8",
                  "convert the text to UTF-8, or use --tokenizer byte");
}

}  // namespace dagpam::data

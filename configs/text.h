// configs/text.h: strings as they appear in messages, and what must hold for strings that came from
// outside.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dagpam::configs {

// `text` as one printable line: control characters, line separators and bytes that are not UTF-8
// are written as \n, \t, \u2028 or \xff; past `limit` bytes it is cut and ends with "...".
std::string one_line(std::string_view text, size_t limit = 160);

// Offset of the first byte that is not UTF-8 (RFC 3629), or npos.
size_t find_invalid_utf8(std::string_view text);

// Offset of the first control character, or npos. `text` is UTF-8.
size_t find_control_character(std::string_view text);

// The shortest decimal form that reads back as `value`: "0.1", "1e-05", "nan".
std::string shown(double value);

// "a, b or c"
template <typename Strings>
std::string joined(const Strings& items, const std::string& last = " or ") {
  std::string out;
  size_t left = items.size();
  for (const auto& item : items) {
    out += item;
    --left;
    if (left > 1) out += ", ";
    if (left == 1) out += last;
  }
  return out;
}

}  // namespace dagpam::configs

// data/utf8.h: strict UTF-8 (RFC 3629), and where in a text a byte is.
//
// Refused: overlong forms, surrogates (U+D800 to U+DFFF), anything above U+10FFFF, a lone
// continuation byte, and a sequence that the text ends in the middle of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dagpam::data {

// One code point of a text. length 0: the bytes at this place are not UTF-8.
struct CodePoint {
  char32_t value = 0;
  int length = 0;  // bytes, 1 to 4
};

// The code point that starts at text[offset]; offset < text.size().
CodePoint decode_code_point(std::string_view text, size_t offset);

// Appends the UTF-8 form of a code point (at most U+10FFFF, no surrogate).
void append_code_point(char32_t value, std::string& out);

// Byte offset of the first place that is not UTF-8, or text.size() where all of it is.
size_t find_invalid_utf8(std::string_view text);

// Where a text may be cut between characters: the last place in [1, limit] that no continuation
// byte stands at, else the first one after, text.size() at most. 1 <= limit <= text.size(). Parts
// of a text that is not UTF-8 show the same first place where it is not.
size_t cut_behind_character(std::string_view text, size_t limit);

// Code points of a valid text.
int64_t count_code_points(std::string_view text);

// White_Space of the Unicode character database.
bool is_whitespace(char32_t value);

// Where a byte is: lines end with '\n'; line and column are counted from 1, the column in code
// points (bytes that are no UTF-8 count as one each).
struct TextPosition {
  int64_t byte = 0;  // from 0
  int64_t line = 1;
  int64_t column = 1;
};
TextPosition locate(std::string_view text, size_t byte);

// "byte 17 (line 2, column 5)"
std::string to_string(const TextPosition& position);

// A code point for a message: 'é' (U+00E9), or U+0007 alone where it does not print.
std::string describe_code_point(char32_t value);

// Throws TextError naming `source`, the position and the byte where `text` is not UTF-8.
void require_utf8(std::string_view text, const std::string& source);

}  // namespace dagpam::data

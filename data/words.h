// data/words.h: the words of a text, line by line.
#pragma once

#include <cstddef>
#include <string_view>

#include "data/utf8.h"

namespace dagpam::data {

// The next word of text[begin, end), empty where there is none. Valid UTF-8.
inline std::string_view next_word(std::string_view text, size_t begin, size_t end) {
  const auto skip = [&](bool white) {
    size_t i = begin;
    while (i < end) {
      const CodePoint point = decode_code_point(text, i);
      if (is_whitespace(point.value) != white) break;
      i += static_cast<size_t>(point.length);
    }
    return i;
  };
  begin = skip(true);
  return text.substr(begin, skip(false) - begin);
}

// Calls word(std::string_view) for each word and end_of_line() for each line of a valid text.
template <typename Word, typename EndOfLine>
void for_each_word(std::string_view text, Word word, EndOfLine end_of_line) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t found = text.find('\n', begin);
    const size_t end = found == std::string_view::npos ? text.size() : found;
    while (true) {
      const std::string_view next = next_word(text, begin, end);
      if (next.empty()) break;
      word(next);
      begin = static_cast<size_t>(next.data() - text.data()) + next.size();
    }
    end_of_line();
    begin = end + 1;
  }
}

}  // namespace dagpam::data

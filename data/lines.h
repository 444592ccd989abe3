// data/lines.h: the lines of a text. A line ends with '\n', or with the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dagpam::data {

class LineReader {
 public:
  explicit LineReader(std::string_view text) : text_(text) {}

  // line <- the next line without its end; false where there is none. An empty text has no lines.
  bool next(std::string_view& line);

  int64_t number() const { return number_; }     // of the line that next() gave, from 1
  size_t offset() const { return offset_; }      // of its first byte
  size_t position() const { return position_; }  // of the next line's first byte

 private:
  std::string_view text_;
  int64_t number_ = 0;
  size_t offset_ = 0, position_ = 0;
};

int64_t count_lines(std::string_view text);

// Where a text may be cut behind a line's end: the last place in [1, limit], else the first one
// after, text.size() at most. 1 <= limit <= text.size().
size_t cut_behind_line(std::string_view text, size_t limit);

}  // namespace dagpam::data

#include "data/lines.h"

#include <algorithm>

namespace dagpam::data {

bool LineReader::next(std::string_view& line) {
  if (position_ >= text_.size()) return false;
  offset_ = position_;
  const size_t end = std::min(text_.find('\n', offset_), text_.size());
  line = text_.substr(offset_, end - offset_);
  position_ = end + 1;
  ++number_;
  return true;
}

int64_t count_lines(std::string_view text) {
  const bool open_end = !text.empty() && text.back() != '\n';
  return std::count(text.begin(), text.end(), '\n') + (open_end ? 1 : 0);
}

size_t cut_behind_line(std::string_view text, size_t limit) {
  const size_t before = text.rfind('\n', limit - 1);
  if (before != std::string_view::npos) return before + 1;
  const size_t after = text.find('\n', limit);
  return after == std::string_view::npos ? text.size() : after + 1;
}

}  // namespace dagpam::data

#include "data/byte_tokenizer.h"

#include <algorithm>

namespace dagpam::data {

void ByteTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  const size_t begin = out.size();
  out.resize(begin + text.size());
  std::transform(text.begin(), text.end(), out.begin() + static_cast<std::ptrdiff_t>(begin),
                 [](char c) { return static_cast<unsigned char>(c); });
}

std::string ByteTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  text.reserve(ids.size());
  for (const int32_t id : ids) {
    require_id(id);
    text.push_back(static_cast<char>(id));
  }
  return text;
}

std::string ByteTokenizer::to_json() const { return R"({"kind":"byte"})"; }

size_t ByteTokenizer::cut(std::string_view, size_t limit) const { return limit; }

}  // namespace dagpam::data

#include "data/char_tokenizer.h"

#include <nlohmann/json.hpp>

#include "data/text_error.h"
#include "data/utf8.h"

namespace dagpam::data {

CharTokenizer::CharTokenizer(std::u32string symbols) : symbols_(std::move(symbols)) {
  if (symbols_.empty()) throw DataError("char tokenizer: no characters, expected at least one");
  for (size_t i = 1; i < symbols_.size(); ++i) {
    if (symbols_[i] <= symbols_[i - 1]) {
      throw DataError("char tokenizer: " + describe_code_point(symbols_[i]) +
                      " is out of order or there twice, expected ascending code points");
    }
  }
  ids_.assign(static_cast<size_t>(symbols_.back()) + 1, -1);
  for (size_t i = 0; i < symbols_.size(); ++i) ids_[symbols_[i]] = static_cast<int32_t>(i);
}

void CharTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  require_utf8(text, "text");
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_code_point(text, i);
    const int32_t id = point.value < ids_.size() ? ids_[point.value] : -1;
    if (id < 0) {
      throw TextError("text", text, i,
                      "character " + describe_code_point(point.value) + " is not among the " +
                          std::to_string(symbols_.size()) + " of the training text",
                      "remove it, add it to the training text, or use --tokenizer byte");
    }
    out.push_back(id);
    i += static_cast<size_t>(point.length);
  }
}

std::string CharTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  text.reserve(ids.size());
  for (const int32_t id : ids) {
    require_id(id);
    append_code_point(symbols_[static_cast<size_t>(id)], text);
  }
  return text;
}

std::string CharTokenizer::to_json() const {
  std::string characters;
  for (const char32_t value : symbols_) append_code_point(value, characters);
  return nlohmann::json{{"kind", "char"}, {"characters", characters}}.dump();
}

size_t CharTokenizer::cut(std::string_view text, size_t limit) const {
  return cut_behind_character(text, limit);
}

}  // namespace dagpam::data

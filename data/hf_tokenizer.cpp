#include "data/hf_tokenizer.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "data/lines.h"
#include "data/sidecar_file.h"
#include "data/strict_json.h"
#include "data/text_error.h"
#include "data/utf8.h"
#include "data/words.h"

namespace dagpam::data {

HfTokenizer::HfTokenizer(std::string file, int64_t vocab_size, int32_t end_of_text)
    : file_(std::move(file)), vocab_size_(vocab_size), end_of_text_(end_of_text) {
  if (vocab_size_ < 1 || vocab_size_ > std::numeric_limits<int32_t>::max()) {
    throw DataError("hf tokenizer: vocabulary size " + std::to_string(vocab_size_) +
                    ", expected 1 to 2147483647");
  }
  if (end_of_text_ < -1 || end_of_text_ >= vocab_size_) {
    throw DataError("hf tokenizer: end of text is id " + std::to_string(end_of_text_) +
                    ", expected -1 (none) to " + std::to_string(vocab_size_ - 1));
  }
}

void HfTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  require_utf8(text, "text");
  const auto add = [&](std::string_view word) {
    int32_t id = -1;
    const auto read = std::from_chars(word.data(), word.data() + word.size(), id);
    const bool number = read.ec == std::errc() && read.ptr == word.data() + word.size();
    if (!number || id < 0 || id >= vocab_size_) {
      throw TextError(
          "text", text, static_cast<size_t>(word.data() - text.data()),
          quote_for_message(word) + " is no token id from 0 to " + std::to_string(vocab_size_ - 1),
          "its tokenizer is a Hugging Face one: let launch/prepare_hf encode the text");
    }
    out.push_back(id);
  };
  for_each_word(text, add, [] {});
}

std::string HfTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    require_id(id);
    if (!text.empty()) text.push_back(' ');
    text += std::to_string(id);
  }
  return text;
}

std::string HfTokenizer::to_json() const {
  return nlohmann::json{{"kind", "hf"},
                        {"vocab_size", vocab_size_},
                        {"end_of_text", end_of_text_},
                        {"tokenizer_json", file_}}
      .dump();
}

size_t HfTokenizer::cut(std::string_view text, size_t limit) const {
  return cut_behind_line(text, limit);
}

std::unique_ptr<Tokenizer> hf_from_json(std::string_view json) {
  const std::string source = "tokenizer description";
  const nlohmann::json object = parse_object(json, source);
  require_only(object, {"kind", "vocab_size", "end_of_text", "tokenizer_json"}, source);
  const int64_t vocab = integer_field(object, "vocab_size", 1, source);
  const int64_t end = integer_field(object, "end_of_text", -1, source);
  if (end >= vocab) {
    throw DataError(source + ": field 'end_of_text' is " + std::to_string(end) +
                    ", expected -1 (none) to " + std::to_string(vocab - 1));
  }
  return std::make_unique<HfTokenizer>(string_field(object, "tokenizer_json", source), vocab,
                                       static_cast<int32_t>(end));
}

}  // namespace dagpam::data

#include "data/word_tokenizer.h"

#include <nlohmann/json.hpp>

#include "data/lines.h"
#include "data/strict_json.h"
#include "data/text_error.h"
#include "data/utf8.h"
#include "data/words.h"

namespace dagpam::data {
namespace {

void require_word(const std::string& word) {
  require_utf8(word, "word tokenizer: a word of the vocabulary");
  if (word.empty()) throw DataError("word tokenizer: empty word in the vocabulary");
  if (next_word(word, 0, word.size()).size() != word.size()) {
    throw DataError("word tokenizer: word " + quote_for_message(word) + " holds white space");
  }
}

}  // namespace

WordTokenizer::WordTokenizer(std::vector<std::string> words) : words_(std::move(words)) {
  ids_.reserve(words_.size());
  for (const auto& word : words_) {
    require_word(word);
    if (!ids_.emplace(word, static_cast<int32_t>(ids_.size())).second) {
      throw DataError("word tokenizer: word " + quote_for_message(word) + " is there twice");
    }
  }
  end_of_line_ = find(kEndOfLine);
  unknown_ = find(kUnknownWord);
  if (end_of_line_ < 0) throw DataError("word tokenizer: the vocabulary lacks <eos>");
}

int32_t WordTokenizer::find(std::string_view word) const {
  const auto found = ids_.find(word);
  return found == ids_.end() ? -1 : found->second;
}

void WordTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  require_utf8(text, "text");
  const auto add = [&](std::string_view word) {
    const int32_t id = find(word);
    if (id < 0 && unknown_ < 0) {
      throw TextError("text", text, static_cast<size_t>(word.data() - text.data()),
                      "word " + quote_for_message(word) + " is not among the " +
                          std::to_string(words_.size()) +
                          " of the training text, which has no <unk> to put for it",
                      "put <unk> for rare words of the training text, or use another tokenizer");
    }
    out.push_back(id < 0 ? unknown_ : id);
  };
  for_each_word(text, add, [&] { out.push_back(end_of_line_); });
}

void WordTokenizer::encode_prompt(std::string_view text, std::vector<int32_t>& out) const {
  encode(text, out);
  if (!text.empty() && !text.ends_with('\n')) out.pop_back();
}

std::string WordTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    require_id(id);
    if (id == end_of_line_) {
      text.push_back('\n');
      continue;
    }
    if (!text.empty() && text.back() != '\n') text.push_back(' ');
    text += words_[static_cast<size_t>(id)];
  }
  return text;
}

std::string WordTokenizer::to_json() const {
  return nlohmann::json{{"kind", "word"}, {"words", words_}}.dump();
}

size_t WordTokenizer::cut(std::string_view text, size_t limit) const {
  return cut_behind_line(text, limit);
}

}  // namespace dagpam::data

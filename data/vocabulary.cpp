#include "data/vocabulary.h"

#include <unordered_set>
#include <vector>

#include "configs/errors.h"
#include "data/char_tokenizer.h"
#include "data/lines.h"
#include "data/text_error.h"
#include "data/utf8.h"
#include "data/word_tokenizer.h"
#include "data/words.h"

namespace dagpam::data {
namespace {

class Characters final : public Vocabulary {
 public:
  void add(std::string_view text) override {
    require_utf8(text, "training text");
    for (size_t i = 0; i < text.size();) {
      const CodePoint point = decode_code_point(text, i);
      seen_[point.value] = true;
      i += static_cast<size_t>(point.length);
    }
  }

  std::string symbols() const override {
    std::string text;
    for (const char32_t value : ascending()) append_code_point(value, text);
    return text;
  }
  void join(const std::string& symbols) override { add(symbols); }

  size_t cut(std::string_view text, size_t limit) const override {
    return cut_behind_character(text, limit);
  }

  std::unique_ptr<Tokenizer> tokenizer() const override {
    std::u32string found = ascending();
    if (found.empty()) throw DataError("training text: empty, expected at least one character");
    return std::make_unique<CharTokenizer>(std::move(found));
  }

 private:
  std::u32string ascending() const {
    std::u32string found;
    for (char32_t value = 0; value < seen_.size(); ++value) {
      if (seen_[value]) found.push_back(value);
    }
    return found;
  }

  std::vector<bool> seen_ = std::vector<bool>(0x110000, false);  // by code point
};

class Words final : public Vocabulary {
 public:
  void add(std::string_view text) override {
    require_utf8(text, "training text");
    for_each_word(
        text, [this](std::string_view word) { add_word(word); }, [this] { add_word(kEndOfLine); });
  }

  // Words hold no white space.
  std::string symbols() const override {
    std::string text;
    for (const std::string* word : words_) text += *word + "\n";
    return text;
  }
  void join(const std::string& symbols) override {
    LineReader lines(symbols);
    for (std::string_view word; lines.next(word);) add_word(word);
  }

  size_t cut(std::string_view text, size_t limit) const override {
    return cut_behind_line(text, limit);
  }

  std::unique_ptr<Tokenizer> tokenizer() const override {
    if (words_.empty()) throw DataError("training text: empty, expected at least one line");
    std::vector<std::string> words;
    words.reserve(words_.size());
    for (const std::string* word : words_) words.push_back(*word);
    return std::make_unique<WordTokenizer>(std::move(words));
  }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  void add_word(std::string_view word) {
    if (seen_.find(word) != seen_.end()) return;
    words_.push_back(&*seen_.emplace(word).first);
  }

  std::unordered_set<std::string, Hash, std::equal_to<>> seen_;
  std::vector<const std::string*> words_;  // in seen_, by first appearance
};

}  // namespace

std::unique_ptr<Vocabulary> vocabulary_of(const std::string& spec) {
  if (spec == "char") return std::make_unique<Characters>();
  if (spec == "word") return std::make_unique<Words>();
  return nullptr;
}

}  // namespace dagpam::data

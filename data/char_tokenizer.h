// data/char_tokenizer.h: one token a Unicode code point; the vocabulary is what the training texts
// hold (data/vocabulary.h).
#pragma once

#include "data/tokenizer.h"

namespace dagpam::data {

class CharTokenizer : public Tokenizer {
 public:
  // Symbols in ascending order without repeats, at least one: symbol i has id i. Throws DataError.
  explicit CharTokenizer(std::u32string symbols);

  std::string kind() const override { return "char"; }
  int64_t vocab_size() const override { return static_cast<int64_t>(symbols_.size()); }
  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::string to_json() const override;
  size_t cut(std::string_view text, size_t limit) const override;

 private:
  std::u32string symbols_;    // by id
  std::vector<int32_t> ids_;  // by code point, up to the largest symbol; -1: none
};

}  // namespace dagpam::data

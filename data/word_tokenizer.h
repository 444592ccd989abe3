// data/word_tokenizer.h: the word-level convention of the Penn Treebank and WikiText language
// modelling sets.
//
// A line ends with '\n' (or with the text); its words stand between Unicode white space. Every
// line, an empty one too, gives its words and then <eos>. decode writes a space between words and a
// line end for <eos>.
#pragma once

#include <functional>
#include <unordered_map>

#include "data/tokenizer.h"

namespace dagpam::data {

inline constexpr std::string_view kEndOfLine = "<eos>";
inline constexpr std::string_view kUnknownWord = "<unk>";

class WordTokenizer : public Tokenizer {
 public:
  // Word i has id i; <eos> must be among them. Throws DataError on repeats, white space inside a
  // word, bad UTF-8.
  explicit WordTokenizer(std::vector<std::string> words);

  std::string kind() const override { return "word"; }
  int64_t vocab_size() const override { return static_cast<int64_t>(words_.size()); }

  // A word outside the vocabulary becomes <unk> where the vocabulary has it, else TextError.
  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  void encode_prompt(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::string to_json() const override;
  size_t cut(std::string_view text, size_t limit) const override;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  int32_t find(std::string_view word) const;  // -1: none

  std::vector<std::string> words_;  // by id
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  int32_t end_of_line_ = -1, unknown_ = -1;
};

}  // namespace dagpam::data

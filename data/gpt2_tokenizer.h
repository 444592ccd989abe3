// data/gpt2_tokenizer.h: GPT-2's byte-level byte-pair encoding (Radford et al., 2019): the ids of
// the published tokenizer, for any vocabulary of that form.
#pragma once

#include "data/gpt2_files.h"
#include "data/tokenizer.h"

namespace dagpam::data {

inline constexpr std::string_view kGpt2EndOfText = "<|endoftext|>";

class Gpt2Tokenizer : public Tokenizer {
 public:
  // Throws DataError where a token holds a character outside the byte alphabet or is there twice, a
  // byte has no token, or a merge's parts or result are no tokens.
  explicit Gpt2Tokenizer(const Gpt2Vocabulary& vocabulary);
  ~Gpt2Tokenizer() override;

  std::string kind() const override { return "gpt2"; }
  int64_t vocab_size() const override;
  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  // The bytes of the tokens: a token alone may be part of a character.
  std::string decode(std::span<const int32_t> ids) const override;
  std::string to_json() const override;
  int32_t end_of_text() const override;
  size_t cut(std::string_view text, size_t limit) const override;

 private:
  struct Tables;
  struct Scratch;

  std::unique_ptr<const Tables> tables_;
  std::unique_ptr<Scratch> scratch_;  // has its own lock
};

}  // namespace dagpam::data

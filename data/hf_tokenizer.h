// data/hf_tokenizer.h: a tokenizer of the Hugging Face `tokenizers` package, which this program
// carries but does not run: `launch/prepare_hf` encodes and decodes.
//
// To everything here a text is its ids, written as numbers with white space between: so `generate`
// takes and gives ids, and data sets made with the same tokenizer.json know each other.
#pragma once

#include "data/tokenizer.h"

namespace dagpam::data {

class HfTokenizer : public Tokenizer {
 public:
  // `file`: the text of tokenizer.json, UTF-8, kept as it is. Throws DataError where vocab_size is
  // not 1 to 2^31 - 1, or end_of_text neither -1 nor an id.
  HfTokenizer(std::string file, int64_t vocab_size, int32_t end_of_text);

  std::string kind() const override { return "hf"; }
  int64_t vocab_size() const override { return vocab_size_; }
  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::string to_json() const override;
  int32_t end_of_text() const override { return end_of_text_; }
  size_t cut(std::string_view text, size_t limit) const override;

 private:
  std::string file_;
  int64_t vocab_size_;
  int32_t end_of_text_;
};

// From the fields of a description of kind "hf". Throws DataError.
std::unique_ptr<Tokenizer> hf_from_json(std::string_view json);

}  // namespace dagpam::data

// data/byte_tokenizer.h: one token a byte, 256 symbols, any text.
#pragma once

#include "data/tokenizer.h"

namespace dagpam::data {

class ByteTokenizer : public Tokenizer {
 public:
  std::string kind() const override { return "byte"; }
  int64_t vocab_size() const override { return 256; }
  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::string to_json() const override;
  size_t cut(std::string_view text, size_t limit) const override;
};

}  // namespace dagpam::data

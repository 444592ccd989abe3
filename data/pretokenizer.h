// data/pretokenizer.h: how GPT-2 cuts a text into words before the byte pairs (openai/gpt-2,
// src/encoder.py).
#pragma once

#include <memory>
#include <string_view>

namespace dagpam::data {

// Holds a compiled pattern and its scratch: one thread at a time.
class Gpt2Pretokenizer {
 public:
  Gpt2Pretokenizer();
  ~Gpt2Pretokenizer();

  // End of the word that begins at text[begin], begin < text.size(). The text is valid UTF-8 and
  // `begin` the end of the word before; each byte belongs to exactly one word.
  size_t word_end(std::string_view text, size_t begin);

 private:
  struct Pattern;
  std::unique_ptr<Pattern> pattern_;
};

}  // namespace dagpam::data

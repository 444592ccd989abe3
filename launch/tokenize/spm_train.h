// launch/tokenize/spm_train.h: a SentencePiece model from texts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dagpam::tokenize {

// The ids that every model of this program has.
inline constexpr int kPad = 0, kUnknown = 1, kBos = 2, kEos = 3;

struct TrainOptions {
  std::vector<std::string> inputs;  // text files, a sentence a line; all are one text
  int64_t vocab_size = 0;           // with the four special symbols and 256 bytes
  std::string kind = "bpe";         // or "unigram"
  double character_coverage = 0.9995;
  std::string out;  // PREFIX
};

// Writes PREFIX.vocab (a line a symbol: piece, tab, score), then PREFIX.model, each whole or not at
// all; returns the number of lines that were read. The same inputs give the same bytes.
//
// Text is taken as it is (normalisation `identity`, spaces kept), and a character outside the
// vocabulary becomes its bytes: no text is refused, and decode(encode(text)) == text unless it
// holds U+2581, SentencePiece's sign for a space. Lines that hold U+2585 are not learned from.
//
// Throws ConfigError (a vocabulary that is too small for the characters or too large for the text),
// DataError (a file that is missing, empty, or not UTF-8: byte and line) and IoError.
int64_t train(const TrainOptions& options);

}  // namespace dagpam::tokenize

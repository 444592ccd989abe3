// data/gpt2_files.h: the published form of GPT-2's byte-level byte-pair encoding.
//
// DIR/encoder.json: one object, token to id; DIR/vocab.bpe: a "#version" line, then one merge a
// line, first one first. (Also under the names vocab.json and merges.txt.) Tokens are written in an
// alphabet of 256 printing characters, one a byte: a byte that prints in Latin-1 is that character,
// the others are U+0100 and up in order (the space is U+0120).
#pragma once

#include <array>
#include <string>
#include <vector>

namespace dagpam::data {

// As written in the files; Gpt2Tokenizer checks that they fit each other.
struct Gpt2Vocabulary {
  std::vector<std::string> tokens;  // by id, in the alphabet
  std::vector<std::string> merges;  // by rank: two tokens with a space between
  std::string source;               // for messages
};

// Throws DataError naming the file where one is missing or malformed: ids must be 0, 1, ... each
// once.
Gpt2Vocabulary read_gpt2_files(const std::string& folder);

// The alphabet's character for each byte.
std::array<char32_t, 256> gpt2_byte_alphabet();

}  // namespace dagpam::data

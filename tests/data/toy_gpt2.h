// tests/data/toy_gpt2.h: a small vocabulary of GPT-2's form: 256 bytes, some merges, <|endoftext|>.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/gpt2_files.h"
#include "data/utf8.h"

namespace dagpam::data {

// Bytes in the alphabet of the files: the space is U+0120, and so on.
inline std::string in_alphabet(const std::string& bytes) {
  const auto alphabet = gpt2_byte_alphabet();
  std::string text;
  for (const char byte : bytes) append_code_point(alphabet[static_cast<unsigned char>(byte)], text);
  return text;
}

inline Gpt2Vocabulary toy_gpt2() {
  Gpt2Vocabulary vocabulary;
  vocabulary.source = "toy";
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(in_alphabet(std::string(1, static_cast<char>(byte))));
  }
  const std::pair<std::string, std::string> merges[] = {
      {"t", "h"}, {"th", "e"}, {" ", "the"}, {"i", "n"}, {"in", "g"}, {"\xC3", "\xA9"}, {" ", " "}};
  for (const auto& [left, right] : merges) {
    vocabulary.merges.push_back(in_alphabet(left) + " " + in_alphabet(right));
    vocabulary.tokens.push_back(in_alphabet(left + right));
  }
  vocabulary.tokens.push_back("<|endoftext|>");
  return vocabulary;
}

inline std::string encoder_json(const Gpt2Vocabulary& vocabulary) {
  nlohmann::json object = nlohmann::json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) object[vocabulary.tokens[id]] = id;
  return object.dump();
}

inline std::string vocab_bpe(const Gpt2Vocabulary& vocabulary) {
  std::string text = "#version: 0.2\n";
  for (const auto& merge : vocabulary.merges) text += merge + "\n";
  return text;
}

}  // namespace dagpam::data

// tests/data/toy_pairs.h: a small set of sentence pairs with a word tokenizer.
#pragma once

#include <random>
#include <string>

#include "data/prepare_pairs.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {

// `count` sentences of 1 to `longest` words, a line each; the same for the same seed.
inline std::string toy_sentences(int count, int longest, unsigned seed) {
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    const auto words = 1 + random() % static_cast<unsigned>(longest);
    for (unsigned w = 0; w < words; ++w) {
      text += (w > 0 ? " w" : "w") + std::to_string(random() % 50);
    }
    text += '\n';
  }
  return text;
}

// Splits train (count pairs) and test (20) of PREFIX "set" in the folder.
inline PreparePairsOptions toy_pairs(const ScratchFolder& folder, int count, int longest = 12) {
  write_bytes(folder / "train.a", toy_sentences(count, longest, 1));
  write_bytes(folder / "train.b", toy_sentences(count, longest, 2));
  write_bytes(folder / "test.a", toy_sentences(20, longest, 3));
  write_bytes(folder / "test.b", toy_sentences(20, longest, 4));
  PreparePairsOptions options;
  options.train = {folder / "train.a", folder / "train.b"};
  options.test = {folder / "test.a", folder / "test.b"};
  options.tokenizer = "word";
  options.out = folder / "set";
  options.progress = nullptr;
  return options;
}

}  // namespace dagpam::data

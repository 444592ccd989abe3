// data/vocabulary.h: the vocabularies that are taken from training texts, in parts that several
// hold.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "data/tokenizer.h"

namespace dagpam::data {

class Vocabulary {
 public:
  virtual ~Vocabulary() = default;

  // A text, or a part of one that ends where cut() says. Throws TextError (source "training text")
  // where it is not UTF-8.
  virtual void add(std::string_view text) = 0;

  // Symbols so far, for another vocabulary of the same kind to join: added in the order of the
  // texts, parts give what the whole gives.
  virtual std::string symbols() const = 0;
  virtual void join(const std::string& symbols) = 0;

  // As Tokenizer::cut.
  virtual size_t cut(std::string_view text, size_t limit) const = 0;

  // DataError where there was no text.
  virtual std::unique_ptr<Tokenizer> tokenizer() const = 0;
};

// Of "char": code points, ascending. Of "word": words and <eos>, by first appearance. Null for any
// other tokenizer, which brings its own.
std::unique_ptr<Vocabulary> vocabulary_of(const std::string& spec);

}  // namespace dagpam::data

// data/prepare_pairs.h: two text files, a sentence a line, to a set of sentence pairs: `dagpam data
// pairs`.
#pragma once

#include <cstdint>
#include <functional>
#include <iostream>
#include <string>

#include "data/pair_sidecar.h"

namespace dagpam::data {

// Line i of one file is the translation of line i of the other.
struct PairFiles {
  std::string source, target;
};

struct PreparePairsOptions {
  PairFiles train, valid, test;  // both names empty: no such split; train must be there
  std::string tokenizer;         // T of make_tokenizer, for both sides; char and word take their
                                 // vocabulary from both training texts
  std::string out;               // PREFIX; its folder is made
  int64_t max_tokens = 0;   // training pairs with a longer side (eos counts) are dropped; 0: none
  bool skip_empty = false;  // leave out pairs of which a side is empty, in place of an error
  std::ostream* progress = &std::cerr;  // as PrepareOptions has them
  std::function<bool()> give_up = {};
};

// Writes PREFIX.{train,valid,test}.{source,target}.{bin,idx}, each sentence a document that ends in
// eos, and PREFIX.json; returns what that says. All files appear together or none does, as with
// prepare(); the set replaces a text set of that name.
//
// Throws ConfigError (half a split, an output that is an input, an unknown tokenizer), DataError (a
// file that is missing, empty or not UTF-8, sides with different numbers of lines, an empty side or
// a line that ends in '\r': file and line; nothing left after dropping), IoError and Interrupted.
PairSidecar prepare_pairs(const PreparePairsOptions& options);

}  // namespace dagpam::data

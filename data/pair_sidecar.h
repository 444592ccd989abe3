// data/pair_sidecar.h: PREFIX.json of a set of sentence pairs, which `data pairs` writes.
//
// One JSON object: format ("dagpam pair set"), version, vocab_size, tokenizer (to_json() of it, as
// a string), tokenizer_digest, pad, bos, eos (ids), max_tokens (0: no limit),
// splits.{train,valid,test}.{pairs, skipped_empty, dropped_long, source, target}, each side with
// tokens, longest, digest and file.{name, bytes, digest}.
//
// vocab_size counts the ids pad, bos and eos, which a tokenizer may have of its own (spm); those
// that it lacks stand behind its vocabulary in this order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/sidecar.h"
#include "data/tokenizer.h"

namespace dagpam::data {

struct PairSide {
  int64_t tokens = 0;   // with an eos a sentence
  int64_t longest = 0;  // sentence, with its eos
  std::string digest;   // IndexedWriter::digest()
  SourceFile file;      // its text
};

struct PairSplit {
  std::string name;  // "train", "valid" or "test"
  int64_t pairs = 0;
  int64_t skipped_empty = 0;  // pairs of which a side was empty
  int64_t dropped_long = 0;   // pairs of which a side was longer than max_tokens
  PairSide source, target;
};

struct PairSidecar {
  std::string tokenizer_json;
  std::string tokenizer_digest;  // xxh3_hex(tokenizer_json)
  int64_t vocab_size = 0;
  SpecialIds special;             // all three, different ones, below vocab_size
  int64_t max_tokens = 0;         // of training sentences; 0: no limit
  std::vector<PairSplit> splits;  // in the order train, valid, test

  const PairSplit* find(const std::string& split) const;  // null: no such split
};

// Ids pad, bos and eos of a pair set, and its vocabulary, with `tokenizer`.
struct PairVocabulary {
  SpecialIds special;
  int64_t vocab_size = 0;
};
PairVocabulary pair_vocabulary(const Tokenizer& tokenizer);

// Whether PREFIX.json is there and says that it is one; DataError where it is there and says
// nothing.
bool is_pair_set(const std::string& prefix);

// Throws DataError naming file and key: a missing, unknown or repeated key, a wrong type or range,
// a tokenizer that does not match its digest, another kind of data set.
PairSidecar read_pair_sidecar(const std::string& prefix);

// Writes PREFIX.json whole or not at all, durably. Throws DataError where read_pair_sidecar would
// refuse it.
void write_pair_sidecar(const std::string& prefix, const PairSidecar& sidecar);

}  // namespace dagpam::data

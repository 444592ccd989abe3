// data/pair_dataset.h: one split of a set of sentence pairs, read where it lies.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/indexed_dataset.h"
#include "data/pair_sidecar.h"

namespace dagpam::data {

enum class PairSideName { kSource, kTarget };

// Any number of threads may read.
class PairDataset {
 public:
  // Opens PREFIX.SPLIT.{source,target} and checks both against each other and PREFIX.json. Throws
  // DataError naming file, count and what was expected: also where there is no such split, or the
  // data set is one text.
  PairDataset(const std::string& prefix, const std::string& split);

  int64_t pairs() const { return split_.pairs; }
  int64_t vocab() const { return sidecar_.vocab_size; }
  const SpecialIds& special() const { return sidecar_.special; }
  const PairSidecar& sidecar() const { return sidecar_; }
  const PairSplit& split() const { return split_; }
  std::string path() const { return path_; }      // PREFIX.SPLIT
  std::string digest() const { return digest_; }  // of both sides

  // Tokens of sentence i, with its eos.
  int64_t length(PairSideName side, int64_t pair) const;
  int64_t longer_side(int64_t pair) const;

  // out <- the sentence with its eos; out.size() is its length. DataError where an id is outside
  // the vocabulary.
  void read(PairSideName side, int64_t pair, std::span<int64_t> out) const;

 private:
  const TokenDataset& of(PairSideName side) const {
    return side == PairSideName::kSource ? *source_ : *target_;
  }

  PairSidecar sidecar_;
  PairSplit split_;
  std::string path_, digest_;
  std::unique_ptr<TokenDataset> source_, target_;
};

}  // namespace dagpam::data

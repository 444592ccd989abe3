// data/verify.h: what a data set holds, and whether all of it is good.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/pair_sidecar.h"
#include "data/sidecar.h"

namespace dagpam::data {

struct SplitReport {
  std::string name;        // "train", "valid" or "test"; of pairs "train.source" and so on
  std::string path;        // as for open_dataset
  std::string token_type;  // as it lies in the file: "u16", "i32" ...
  int64_t tokens = 0;
  int64_t sequences = 0;
  int64_t documents = 0;  // that hold tokens
  std::string digest;
  std::string recorded_digest;  // what the sidecar says; empty: nothing

  // By verify_dataset alone.
  int64_t largest_id = -1;
  int64_t bad_tokens = 0;           // ids outside the vocabulary, or negative where it is not known
  int64_t first_bad_position = -1;  // token index
  int64_t first_bad_id = 0;

  std::string problem;  // one line on the first thing that is wrong; empty: nothing is
};

struct DatasetReport {
  std::string prefix;
  std::optional<Sidecar> sidecar;    // data of other programs has none
  std::optional<PairSidecar> pairs;  // of a set of sentence pairs, in place of sidecar
  std::vector<SplitReport> splits;   // those that are there, in the order train, valid, test

  bool good() const;  // no split has a problem
};

// `data info`: opens every split of PREFIX (or the one llm.c file that `prefix` names), which
// checks the index and all sizes. Throws DataError where there is none, or one is bad.
DatasetReport describe_dataset(const std::string& prefix);

// `data verify`: reads every index entry, every token and the digests. What is wrong with a split
// is in its report, so that one call finds all; throws DataError where there is no split, or the
// sidecar is bad.
DatasetReport verify_dataset(const std::string& prefix);

}  // namespace dagpam::data

// data/pair_evaluation.h: all pairs of a split, each exactly once, shortest first.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/pair_source.h"

namespace dagpam::data {

// In the caller's thread. All ranks get the same number of batches; rank r takes its share of the
// rows of each, which may be none.
class PairEvaluation {
 public:
  // Of `options`, seed, micro_tokens, pool_pairs and prefetch mean nothing here. Throws as
  // open_pairs does.
  PairEvaluation(const PairOptions& options, const std::string& split);

  // batch <- this rank's rows of the next batch, false where there is none; samples are the numbers
  // of the pairs in the split.
  bool next(PairBatch& batch);

  int64_t batches() const { return static_cast<int64_t>(ends_.size()); }
  const PairDataset& dataset() const { return *dataset_; }

 private:
  int rank_, ranks_;
  std::shared_ptr<const PairDataset> dataset_;
  std::vector<int64_t> order_, ends_;
  size_t batch_ = 0;  // next one
};

}  // namespace dagpam::data

// data/batch_maker.h: the micro-batches of one rank, one after the other, in the caller's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/batch_source.h"
#include "data/indexed_dataset.h"
#include "data/sample_order.h"

namespace dagpam::data {

struct BatchMakerOptions {
  BatchOptions batch;
  bool reset_positions = false;
  bool reset_attention = false;
};

class BatchMaker {
 public:
  // `order` stands at the first sample of a step and has the sources in the order of `sources`. The
  // global batch is a multiple of ranks x micro-batch.
  BatchMaker(std::vector<std::unique_ptr<TokenDataset>> sources, SampleOrder order,
             const BatchMakerOptions& options);

  // batch <- the next micro-batch of this rank. Throws DataError.
  void make(Batch& batch);

  bool between_steps() const { return rows_made_ == 0; }

  // Whole number of steps done: the order stands at the next step's first sample.
  const SampleOrder& order() const { return order_; }

 private:
  void fill_row(const SamplePlace& place, int64_t row, Batch& batch);
  void fill_boundaries(const SamplePlace& place, int64_t row, Batch& batch) const;

  std::vector<std::unique_ptr<TokenDataset>> sources_;
  SampleOrder order_;
  BatchMakerOptions options_;
  int64_t rows_per_step_;        // of this rank
  int64_t rows_made_ = 0;        // of this step
  std::vector<int64_t> window_;  // [context + 1]
};

}  // namespace dagpam::data

// data/pair_maker.h: the micro-batches of sentence pairs of one rank, in the caller's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/pair_batch.h"
#include "data/pair_order.h"

namespace dagpam::data {

struct PairMakerOptions {
  int rank = 0, ranks = 1;
  int64_t micro_tokens = 0;  // as PairOptions has it
};

class PairMaker {
 public:
  PairMaker(std::shared_ptr<const PairDataset> dataset, PairOrder order,
            const PairMakerOptions& options);

  // batch <- the next micro-batch of this rank. Throws DataError.
  void make(PairBatch& batch);

  bool between_steps() const { return made_ == std::ssize(rows_); }
  const PairOrder& order() const { return order_; }  // stands at the next step

 private:
  void enter_step();
  int64_t rows_that_fit() const;

  std::shared_ptr<const PairDataset> dataset_;
  PairOrder order_;
  PairMakerOptions options_;
  std::vector<int64_t> rows_;  // pairs of this rank's step
  int64_t made_ = 0;           // of them
  int64_t first_sample_ = 0;   // of rows_
  int64_t step_rows_ = 0, step_target_tokens_ = 0, epoch_ = 0;
};

}  // namespace dagpam::data

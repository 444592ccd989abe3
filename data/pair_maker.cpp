#include "data/pair_maker.h"

#include <algorithm>
#include <utility>

namespace dagpam::data {

PairMaker::PairMaker(std::shared_ptr<const PairDataset> dataset, PairOrder order,
                     const PairMakerOptions& options)
    : dataset_(std::move(dataset)), order_(std::move(order)), options_(options) {}

void PairMaker::enter_step() {
  const PairOrder::Step step = order_.next();
  const RowShare share = share_of_rank(std::ssize(step.pairs), options_.rank, options_.ranks);
  rows_.assign(step.pairs.begin() + share.begin, step.pairs.begin() + share.end);
  made_ = 0;
  first_sample_ = step.first_sample + share.begin;
  step_rows_ = std::ssize(step.pairs);
  step_target_tokens_ = target_tokens(*dataset_, step.pairs);
  epoch_ = step.epoch;
}

int64_t PairMaker::rows_that_fit() const {
  const int64_t left = std::ssize(rows_) - made_;
  if (options_.micro_tokens < 1) return left;
  int64_t rows = 0, longest = 0;
  while (rows < left) {
    const int64_t pair = rows_[static_cast<size_t>(made_ + rows)];
    longest = std::max(longest, dataset_->longer_side(pair));
    if (rows > 0 && (rows + 1) * longest > options_.micro_tokens) break;
    ++rows;
  }
  return rows;
}

void PairMaker::make(PairBatch& batch) {
  if (between_steps()) enter_step();
  const int64_t rows = rows_that_fit();
  const auto pairs =
      std::span(rows_).subspan(static_cast<size_t>(made_), static_cast<size_t>(rows));
  fill_rows(*dataset_, pairs, first_sample_ + made_, batch);
  made_ += rows;
  batch.step_rows = step_rows_;
  batch.step_target_tokens = step_target_tokens_;
  batch.epoch = epoch_;
  batch.ends_step = between_steps();
}

}  // namespace dagpam::data

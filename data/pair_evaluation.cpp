#include "data/pair_evaluation.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "data/pair_order.h"

namespace dagpam::data {

PairEvaluation::PairEvaluation(const PairOptions& options, const std::string& split)
    : rank_(options.rank), ranks_(options.ranks), dataset_(open_fitting_pairs(options, split)) {
  const auto longer = [this](int64_t pair) { return dataset_->longer_side(pair); };
  order_.resize(static_cast<size_t>(dataset_->pairs()));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  std::stable_sort(order_.begin(), order_.end(),
                   [&](int64_t a, int64_t b) { return longer(a) < longer(b); });
  ends_ = cut_by_tokens(order_, options.batch_tokens, longer);
}

bool PairEvaluation::next(PairBatch& batch) {
  if (batch_ == ends_.size()) return false;
  const int64_t begin = batch_ == 0 ? 0 : ends_[batch_ - 1];
  const auto all = std::span<const int64_t>(order_).subspan(
      static_cast<size_t>(begin), static_cast<size_t>(ends_[batch_] - begin));
  const RowShare share = share_of_rank(std::ssize(all), rank_, ranks_);
  fill_rows(
      *dataset_,
      all.subspan(static_cast<size_t>(share.begin), static_cast<size_t>(share.end - share.begin)),
      0, batch);
  batch.samples = batch.pairs;
  batch.step_rows = std::ssize(all);
  batch.step_target_tokens = target_tokens(*dataset_, all);
  ++batch_;
  return true;
}

}  // namespace dagpam::data

#include "data/pair_batches.h"

#include <algorithm>
#include <utility>

namespace dagpam::data {

namespace {

constexpr int64_t kIgnored = -100;  // a target that counts nothing

class PairBatches final : public BatchSource {
 public:
  explicit PairBatches(std::unique_ptr<PairSource> source) : source_(std::move(source)) {}

  const Batch& next() override {
    source_->next();
    return source_->batch();
  }
  DataPosition position() const override { return source_->position(); }
  int64_t samples_per_epoch() const override { return source_->pairs_per_epoch(); }

 private:
  std::unique_ptr<PairSource> source_;
};

void fill_empty(const SpecialIds& special, Batch& batch) {
  batch.rows = batch.context = batch.source_context = 1;
  batch.samples = {0};
  batch.inputs = {special.bos};
  batch.targets = {kIgnored};
  batch.source = {special.eos};
  batch.source_lengths = {1};
}

}  // namespace

void to_batch(const PairBatch& pairs, const SpecialIds& special, Batch& batch) {
  batch.step_tokens = pairs.step_target_tokens;
  batch.ends_step = pairs.ends_step;
  if (pairs.rows == 0) return fill_empty(special, batch);
  batch.rows = pairs.rows;
  batch.context = pairs.target_length;
  batch.source_context = pairs.source_length;
  batch.samples = pairs.samples;
  batch.inputs = pairs.target_inputs;
  batch.targets = pairs.targets;
  batch.source = pairs.source;
  batch.source_lengths = pairs.source_lengths;
  for (int64_t row = 0; row < pairs.rows; ++row) {
    const auto begin = batch.targets.begin() + row * pairs.target_length;
    std::fill(begin + pairs.target_lengths[static_cast<size_t>(row)], begin + pairs.target_length,
              kIgnored);
  }
}

std::unique_ptr<BatchSource> as_batches(std::unique_ptr<PairSource> source) {
  return std::make_unique<PairBatches>(std::move(source));
}

}  // namespace dagpam::data

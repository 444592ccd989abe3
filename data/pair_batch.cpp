#include "data/pair_batch.h"

#include <algorithm>

namespace dagpam::data {
namespace {

// [row, length) of a row-major array
std::span<int64_t> row_of(std::vector<int64_t>& cells, int64_t row, int64_t length) {
  return std::span(cells).subspan(static_cast<size_t>(row * length), static_cast<size_t>(length));
}

void size_batch(const PairDataset& dataset, std::span<const int64_t> pairs, PairBatch& batch) {
  batch.rows = std::ssize(pairs);
  batch.source_length = batch.target_length = 1;
  batch.source_lengths.clear();
  batch.target_lengths.clear();
  for (const int64_t pair : pairs) {
    const int64_t source = dataset.length(PairSideName::kSource, pair);
    const int64_t target = dataset.length(PairSideName::kTarget, pair);
    batch.source_length = std::max(batch.source_length, source);
    batch.target_length = std::max(batch.target_length, target);
    batch.source_lengths.push_back(static_cast<int32_t>(source));
    batch.target_lengths.push_back(static_cast<int32_t>(target));
  }
  const auto cells = [&](int64_t length) { return static_cast<size_t>(batch.rows * length); };
  const int64_t pad = dataset.special().pad;
  batch.source.assign(cells(batch.source_length), pad);
  batch.target_inputs.assign(cells(batch.target_length), pad);
  batch.targets.assign(cells(batch.target_length), pad);
}

}  // namespace

void fill_rows(const PairDataset& dataset, std::span<const int64_t> pairs, int64_t first_sample,
               PairBatch& batch) {
  size_batch(dataset, pairs, batch);
  batch.pairs.assign(pairs.begin(), pairs.end());
  batch.samples.resize(pairs.size());
  for (int64_t row = 0; row < batch.rows; ++row) {
    const auto i = static_cast<size_t>(row);
    batch.samples[i] = first_sample + row;
    const auto source = row_of(batch.source, row, batch.source_length);
    dataset.read(PairSideName::kSource, pairs[i],
                 source.first(static_cast<size_t>(batch.source_lengths[i])));
    const auto length = static_cast<size_t>(batch.target_lengths[i]);
    const auto targets = row_of(batch.targets, row, batch.target_length).first(length);
    dataset.read(PairSideName::kTarget, pairs[i], targets);
    const auto inputs = row_of(batch.target_inputs, row, batch.target_length);
    inputs[0] = dataset.special().bos;
    std::copy_n(targets.begin(), length - 1, inputs.begin() + 1);
  }
}

int64_t target_tokens(const PairDataset& dataset, std::span<const int64_t> pairs) {
  int64_t tokens = 0;
  for (const int64_t pair : pairs) tokens += dataset.length(PairSideName::kTarget, pair);
  return tokens;
}

RowShare share_of_rank(int64_t rows, int rank, int ranks) {
  return {rows * rank / ranks, rows * (rank + 1) / ranks};
}

}  // namespace dagpam::data

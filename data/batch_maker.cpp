#include "data/batch_maker.h"

#include <algorithm>
#include <span>
#include <utility>

namespace dagpam::data {

BatchMaker::BatchMaker(std::vector<std::unique_ptr<TokenDataset>> sources, SampleOrder order,
                       const BatchMakerOptions& options)
    : sources_(std::move(sources)),
      order_(std::move(order)),
      options_(options),
      rows_per_step_(options.batch.global_batch / options.batch.ranks),
      window_(static_cast<size_t>(options.batch.context + 1)) {}

void BatchMaker::make(Batch& batch) {
  const BatchOptions& o = options_.batch;
  const auto cells = static_cast<size_t>(o.micro_batch * o.context);
  batch.rows = o.micro_batch;
  batch.context = o.context;
  batch.samples.resize(static_cast<size_t>(o.micro_batch));
  batch.inputs.resize(cells);
  batch.targets.resize(cells);
  batch.positions.resize(options_.reset_positions ? cells : 0);
  batch.key_begin.resize(options_.reset_attention ? cells : 0);

  if (rows_made_ == 0) order_.skip(o.rank * rows_per_step_);
  for (int64_t row = 0; row < o.micro_batch; ++row) fill_row(order_.next(), row, batch);
  rows_made_ += o.micro_batch;
  if (rows_made_ == rows_per_step_) {
    order_.skip((o.ranks - 1 - o.rank) * rows_per_step_);
    rows_made_ = 0;
  }
}

void BatchMaker::fill_row(const SamplePlace& place, int64_t row, Batch& batch) {
  sources_[place.source]->read(place.offset, window_, options_.batch.vocab);
  const int64_t context = batch.context;
  batch.samples[static_cast<size_t>(row)] = place.sample;
  std::copy_n(window_.begin(), context, batch.inputs.begin() + row * context);
  std::copy_n(window_.begin() + 1, context, batch.targets.begin() + row * context);
  if (options_.reset_positions || options_.reset_attention) fill_boundaries(place, row, batch);
}

// A window that starts within a document counts as that document's start: its earlier part is not
// there.
void BatchMaker::fill_boundaries(const SamplePlace& place, int64_t row, Batch& batch) const {
  const int64_t context = batch.context;
  const std::span<const int64_t> starts = sources_[place.source]->document_starts();
  auto next = std::upper_bound(starts.begin(), starts.end(), place.offset);
  for (int64_t t = 0, start = 0; t < context; ++t) {
    if (next != starts.end() && *next == place.offset + t) {
      start = t;
      ++next;
    }
    const auto cell = static_cast<size_t>(row * context + t);
    if (options_.reset_positions) batch.positions[cell] = t - start;
    if (options_.reset_attention) batch.key_begin[cell] = static_cast<int32_t>(start);
  }
}

}  // namespace dagpam::data

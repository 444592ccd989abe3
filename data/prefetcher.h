// data/prefetcher.h: micro-batches made ahead of the step that needs them.
#pragma once

#include <string>
#include <vector>

#include "data/batch_maker.h"
#include "data/batch_source.h"
#include "data/loader_thread.h"

namespace dagpam::data {

// One thread calls next() and position(); data/loader_thread.h says what becomes of errors.
class Prefetcher final : public BatchSource {
 public:
  // Keeps at most `ahead` >= 1 finished micro-batches.
  Prefetcher(BatchMaker maker, std::vector<std::string> digests, size_t ahead);

  const Batch& next() override { return loader_.next().batch; }
  DataPosition position() const override;  // std::logic_error within a step
  int64_t samples_per_epoch() const override { return samples_per_epoch_; }

 private:
  // A micro-batch, and where the run stands in its data after it.
  struct Item {
    Batch batch;
    bool between_steps = true;
    int64_t next_sample = 0;
    std::vector<int64_t> drawn, drawn_before_weights;  // only between steps
  };

  Item before_first() const;
  void note_position(Item& item) const;

  BatchMaker maker_;  // of the loader thread alone, once it runs
  const std::vector<std::string> digests_;
  const int64_t samples_per_epoch_;
  LoaderThread<Item> loader_;  // last: its thread uses the rest
};

}  // namespace dagpam::data

// data/prefetcher.h: the loader thread: micro-batches made ahead of the step that needs them.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "data/batch_maker.h"
#include "data/batch_source.h"

namespace dagpam::data {

// One thread calls next() and position(); the loader thread is the object's own and ends with it,
// within the making of one micro-batch. What it throws, next() throws in place of the micro-batch
// that failed, and in every later call.
class Prefetcher final : public BatchSource {
 public:
  // Keeps at most `ahead` >= 1 finished micro-batches.
  Prefetcher(BatchMaker maker, std::vector<std::string> digests, size_t ahead);
  ~Prefetcher() override;

  const Batch& next() override;
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
  using ItemPointer = std::unique_ptr<Item>;

  void load();
  ItemPointer wait_for_room();  // an item to fill; null: stop
  void note_position(Item& item) const;

  BatchMaker maker_;  // of the loader thread alone, once it runs
  const std::vector<std::string> digests_;
  const int64_t samples_per_epoch_;
  const size_t ahead_;
  ItemPointer current_;  // of the caller alone: what next() gave last

  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::deque<ItemPointer> ready_;
  std::vector<ItemPointer> spare_;
  std::exception_ptr failure_;
  bool stop_ = false;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace dagpam::data

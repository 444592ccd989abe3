#include "data/prefetcher.h"

#include <stdexcept>
#include <utility>

namespace dagpam::data {

Prefetcher::Prefetcher(BatchMaker maker, std::vector<std::string> digests, size_t ahead)
    : maker_(std::move(maker)),
      digests_(std::move(digests)),
      samples_per_epoch_(maker_.order().samples_per_epoch()),
      ahead_(ahead),
      current_(std::make_unique<Item>()) {
  note_position(*current_);
  thread_ = std::thread([this] { load(); });
}

Prefetcher::~Prefetcher() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

const Batch& Prefetcher::next() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || failure_ != nullptr; });
    if (ready_.empty()) std::rethrow_exception(failure_);
    spare_.push_back(std::exchange(current_, std::move(ready_.front())));
    ready_.pop_front();
  }
  changed_.notify_all();
  return current_->batch;
}

DataPosition Prefetcher::position() const {
  if (!current_->between_steps) {
    throw std::logic_error("the position in the data was asked for within a step");
  }
  return {current_->next_sample, digests_, current_->drawn, current_->drawn_before_weights};
}

void Prefetcher::load() {
  try {
    while (ItemPointer item = wait_for_room()) {
      maker_.make(item->batch);
      note_position(*item);
      const std::lock_guard lock(mutex_);
      ready_.push_back(std::move(item));
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

Prefetcher::ItemPointer Prefetcher::wait_for_room() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stop_ || ready_.size() < ahead_; });
  if (stop_) return nullptr;
  if (spare_.empty()) return std::make_unique<Item>();
  ItemPointer item = std::move(spare_.back());
  spare_.pop_back();
  return item;
}

void Prefetcher::note_position(Item& item) const {
  item.between_steps = maker_.between_steps();
  item.next_sample = maker_.order().next_sample();
  if (!item.between_steps) return;
  item.drawn = maker_.order().drawn();
  item.drawn_before_weights = maker_.order().drawn_before_weights();
}

}  // namespace dagpam::data

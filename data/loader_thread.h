// data/loader_thread.h: things made ahead by a thread of their own, in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace dagpam::data {

// One thread calls next() and current(); the loader thread is the object's own and ends with it,
// within the making of one item. What `make` throws, next() throws in place of the item that
// failed, and in every later call.
template <typename Item>
class LoaderThread {
 public:
  // `make` fills an item, which may have been used before; the loader thread alone calls it. Keeps
  // at most `ahead` >= 1 finished items. `before` is what current() is until the first next().
  LoaderThread(std::function<void(Item&)> make, size_t ahead, Item before)
      : make_(std::move(make)),
        ahead_(ahead),
        current_(std::make_unique<Item>(std::move(before))),
        thread_([this] { load(); }) {}

  ~LoaderThread() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  LoaderThread(const LoaderThread&) = delete;
  LoaderThread& operator=(const LoaderThread&) = delete;

  // The next item; good until the next call. Waits only where the loader is behind.
  const Item& next() {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !ready_.empty() || failure_ != nullptr; });
      if (ready_.empty()) std::rethrow_exception(failure_);
      spare_.push_back(std::exchange(current_, std::move(ready_.front())));
      ready_.pop_front();
    }
    changed_.notify_all();
    return *current_;
  }

  const Item& current() const { return *current_; }  // what next() gave last

 private:
  using Pointer = std::unique_ptr<Item>;

  void load() {
    try {
      while (Pointer item = wait_for_room()) {
        make_(*item);
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

  // An item to fill; null: stop.
  Pointer wait_for_room() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stop_ || ready_.size() < ahead_; });
    if (stop_) return nullptr;
    if (spare_.empty()) return std::make_unique<Item>();
    Pointer item = std::move(spare_.back());
    spare_.pop_back();
    return item;
  }

  const std::function<void(Item&)> make_;
  const size_t ahead_;
  Pointer current_;  // of the caller alone

  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::deque<Pointer> ready_;
  std::vector<Pointer> spare_;
  std::exception_ptr failure_;
  bool stop_ = false;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace dagpam::data

#include "parallel/mpi_progress.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace dagpam::parallel {
namespace {

constexpr std::chrono::microseconds kFirstPause{20};
constexpr std::chrono::microseconds kLongestPause{200};

class ProgressThread {
 public:
  ~ProgressThread() { stop(); }

  bool add(std::shared_ptr<MovedBeside> work) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || !allowed()) return false;
      new_.push_back(std::move(work));
      if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    }
    changed_.notify_one();
    return true;
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  bool allowed() {
    if (!allowed_) {
      int level = MPI_THREAD_SINGLE;
      MPI_Query_thread(&level);
      allowed_ = level == MPI_THREAD_MULTIPLE;
    }
    return *allowed_;
  }

  void run() {
    std::vector<std::shared_ptr<MovedBeside>> under_way;
    auto pause = kFirstPause;
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (!new_.empty()) {
        under_way.insert(under_way.end(), new_.begin(), new_.end());
        new_.clear();
        pause = kFirstPause;
      }
      if (under_way.empty()) {
        changed_.wait(lock, [this] { return stopping_ || !new_.empty(); });
        continue;
      }
      lock.unlock();
      if (std::erase_if(under_way, [](const auto& work) { return work->test_beside(); }) > 0) {
        pause = kFirstPause;
      }
      lock.lock();
      changed_.wait_for(lock, pause, [this] { return stopping_ || !new_.empty(); });
      pause = std::min(2 * pause, kLongestPause);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<MovedBeside>> new_;  // not yet seen by the thread
  bool stopping_ = false;
  std::optional<bool> allowed_;
  std::thread thread_;
};

ProgressThread& progress_thread() {
  static ProgressThread thread;
  return thread;
}

}  // namespace

bool move_beside(std::shared_ptr<MovedBeside> work) {
  return progress_thread().add(std::move(work));
}

void stop_mpi_progress() { progress_thread().stop(); }

}  // namespace dagpam::parallel

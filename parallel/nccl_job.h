// parallel/nccl_job.h: what the NCCL communicators of one rank share: the lock around the library,
// the first failure, and the watch that finds what goes wrong after a call has returned.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "parallel/nccl_api.h"

namespace dagpam::parallel {

struct NcclOptions {
  // Of a call, from when all before it on its communicator were done.
  std::chrono::milliseconds timeout = std::chrono::seconds(600);
  std::chrono::milliseconds watch_every{100};  // 0: no thread, the owner calls watch()
  // How long after a failure that the watch found the rank may take to notice; then
  // `last_resort` is called with the failure, which ends the process.
  std::chrono::milliseconds patience = std::chrono::seconds(30);
  std::function<void(const std::string&)> last_resort;
};

class NcclGroup;

class NcclJob {
 public:
  NcclJob(std::shared_ptr<NcclApi> library, const NcclOptions& how);
  ~NcclJob();
  NcclJob(const NcclJob&) = delete;
  NcclJob& operator=(const NcclJob&) = delete;

  NcclApi& api() { return *api_; }
  const NcclOptions& options() const { return options_; }

  // Held around each call of the library.
  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  // The rest under the lock.
  void add(NcclGroup* group);
  void remove(NcclGroup* group);
  bool failed() const { return !failure_.empty(); }
  // Keeps the first failure's words and aborts all communicators, each once.
  void set_failure(const std::string& words);
  // Throws CommError with the first failure's words, which the rank then knows.
  [[noreturn]] void throw_failure();
  // The group whose calls are gathered (the library knows one such list a thread), or nullptr.
  NcclGroup* gathering = nullptr;

  // One look at every group; `gap` since the last one. Takes the lock. For the thread, and for
  // tests without one.
  void watch(std::chrono::steady_clock::duration gap);

 private:
  void run();

  std::shared_ptr<NcclApi> api_;
  NcclOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<NcclGroup*> groups_;
  std::string failure_;
  bool noticed_ = false, stopping_ = false;
  std::chrono::steady_clock::duration unnoticed_{0};
  std::thread thread_;
};

}  // namespace dagpam::parallel

#include "trainer/request_files.h"

#include <unistd.h>

#include <chrono>

namespace dagpam::trainer {

namespace {

constexpr std::chrono::milliseconds kInterval{500};

bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace

RequestFiles::RequestFiles(const std::string& run_dir)
    : stop_path_(run_dir + "/STOP"), save_path_(run_dir + "/SAVE"), thread_([this] { watch(); }) {}

RequestFiles::~RequestFiles() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RequestFiles::watch() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    stop_ = is_there(stop_path_);
    save_ = is_there(save_path_);
    changed_.wait_for(lock, kInterval, [this] { return ending_; });
  }
}

void RequestFiles::taken_stop() {
  const std::lock_guard lock(mutex_);
  ::unlink(stop_path_.c_str());
  stop_ = false;
}

void RequestFiles::taken_save() {
  const std::lock_guard lock(mutex_);
  ::unlink(save_path_.c_str());
  save_ = false;
}

}  // namespace dagpam::trainer

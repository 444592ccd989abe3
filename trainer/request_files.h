// trainer/request_files.h: wishes that a user leaves as files in the run folder, STOP and SAVE.
// Torch-free.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace dagpam::trainer {

// Looks for the files from a thread of its own, so that no step waits for a file system. Rank 0 has
// one; the other ranks hear of it by agreement.
class RequestFiles {
 public:
  explicit RequestFiles(const std::string& run_dir);
  ~RequestFiles();
  RequestFiles(const RequestFiles&) = delete;
  RequestFiles& operator=(const RequestFiles&) = delete;

  bool stop() const { return stop_; }  // RUN/STOP is there: save and end
  bool save() const { return save_; }  // RUN/SAVE is there: save and go on

  // Removes the file once its wish has been heard by all, so that it counts once.
  void taken_stop();
  void taken_save();

 private:
  void watch();

  const std::string stop_path_, save_path_;
  std::atomic<bool> stop_{false}, save_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace dagpam::trainer

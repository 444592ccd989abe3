#include "trainer/telemetry/background_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "configs/errors.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

std::string reason() { return std::strerror(errno); }

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

struct OpenFile {
  std::string path;
  std::unique_ptr<std::FILE, Close> file;
  std::string queued;
};

// "" or why not.
std::string append(const OpenFile& to, const std::string& bytes) {
  const bool good = std::fwrite(bytes.data(), 1, bytes.size(), to.file.get()) == bytes.size() &&
                    std::fflush(to.file.get()) == 0;
  return good ? "" : to.path + ": cannot write: " + reason();
}

}  // namespace

struct BackgroundWriter::State {
  std::vector<OpenFile> files;
  std::mutex mutex;
  std::condition_variable changed;
  std::string error;  // of the first write that failed
  bool stopping = false, writing = false;
  std::thread thread;

  bool waiting() const {
    return std::any_of(files.begin(), files.end(),
                       [](const OpenFile& file) { return !file.queued.empty(); });
  }

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stopping || waiting(); });
      if (!waiting()) return;
      std::vector<std::string> batch;
      for (OpenFile& file : files) batch.push_back(std::exchange(file.queued, {}));
      writing = true;
      lock.unlock();
      std::string failed;
      for (size_t i = 0; i < files.size() && failed.empty(); ++i) {
        failed = append(files[i], batch[i]);
      }
      lock.lock();
      writing = false;
      if (error.empty()) error = failed;
      changed.notify_all();
    }
  }
};

BackgroundWriter::BackgroundWriter(const std::vector<std::string>& paths)
    : state_(std::make_unique<State>()) {
  for (const std::string& path : paths) {
    state_->files.push_back({path, {std::fopen(path.c_str(), "abe"), Close()}, ""});
    if (!state_->files.back().file) {
      throw IoError(path + ": cannot open for writing: " + reason());
    }
  }
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

BackgroundWriter::~BackgroundWriter() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
  if (!state_->error.empty()) log_error(state_->error);
}

void BackgroundWriter::add(size_t file, const std::string& bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->files[file].queued += bytes;
  state_->changed.notify_all();
}

void BackgroundWriter::flush() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return !state_->waiting() && !state_->writing; });
  for (const OpenFile& file : state_->files) {
    if (!state_->error.empty()) break;
    if (fsync(fileno(file.file.get())) != 0 && errno != EINVAL) {
      state_->error = file.path + ": cannot flush: " + reason();
    }
  }
  if (!state_->error.empty()) throw IoError(state_->error);
}

}  // namespace dagpam::trainer

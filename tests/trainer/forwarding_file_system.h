// tests/trainer/forwarding_file_system.h: the operating system's file system with a look at every
// call.
#pragma once

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint::testing {

// Calls before() with the operation's name and path; where it returns an errno, the call fails with
// it (close closes all the same). 0: the call goes through.
class ForwardingFileSystem : public FileSystem {
 public:
  explicit ForwardingFileSystem(FileSystem& real = posix_file_system()) : real_(real) {}
  virtual int before(const std::string& operation, const std::string& path) = 0;
  virtual void succeeded(const std::string& /*operation*/, const std::string& /*path*/) {}
  // How much of a write is done; less makes it a short one.
  virtual size_t write_at_most(size_t bytes) { return bytes; }

  int open_write(const std::string& path) override {
    return open("open_write", path, [&] { return real_.open_write(path); });
  }
  int open_read(const std::string& path) override {
    return open("open_read", path, [&] { return real_.open_read(path); });
  }
  int open_folder(const std::string& path) override {
    return open("open_folder", path, [&] { return real_.open_folder(path); });
  }
  int close(int fd) override {
    const std::string path = path_of(fd);
    const int error = before("close", path);
    {
      const std::lock_guard lock(mutex_);
      paths_.erase(fd);
    }
    const int result = real_.close(fd);
    if (error == 0 && result == 0) succeeded("close", path);
    if (error == 0) return result;
    errno = error;
    return -1;
  }
  ssize_t write(int fd, std::span<const std::byte> bytes) override {
    return call("write", path_of(fd),
                [&] { return real_.write(fd, bytes.first(write_at_most(bytes.size()))); });
  }
  ssize_t pread(int fd, std::span<std::byte> out, int64_t offset) override {
    return call("pread", path_of(fd), [&] { return real_.pread(fd, out, offset); });
  }
  int fsync(int fd) override {
    return call("fsync", path_of(fd), [&] { return real_.fsync(fd); });
  }
  int fstat(int fd, FileStatus& out) override {
    return call("fstat", path_of(fd), [&] { return real_.fstat(fd, out); });
  }
  int lstat(const std::string& path, FileStatus& out) override {
    return call("lstat", path, [&] { return real_.lstat(path, out); });
  }
  int rename(const std::string& from, const std::string& to) override {
    return call("rename", to, [&] { return real_.rename(from, to); });
  }
  int mkdir(const std::string& path) override {
    return call("mkdir", path, [&] { return real_.mkdir(path); });
  }
  int unlink(const std::string& path) override {
    return call("unlink", path, [&] { return real_.unlink(path); });
  }
  int rmdir(const std::string& path) override {
    return call("rmdir", path, [&] { return real_.rmdir(path); });
  }
  int list(const std::string& path, std::vector<std::string>& names) override {
    return call("list", path, [&] { return real_.list(path, names); });
  }
  int free_bytes(const std::string& path, int64_t& out) override {
    return call("free_bytes", path, [&] { return real_.free_bytes(path, out); });
  }

 protected:
  FileSystem& real_;

 private:
  template <typename Call>
  auto call(const char* operation, const std::string& path, const Call& through)
      -> decltype(through()) {
    errno = before(operation, path);
    if (errno != 0) return -1;
    const auto result = through();
    const int error = errno;
    if (result >= 0) succeeded(operation, path);
    errno = error;
    return result;
  }
  template <typename Call>
  int open(const char* operation, const std::string& path, const Call& through) {
    const int fd = call(operation, path, through);
    const std::lock_guard lock(mutex_);
    if (fd >= 0) paths_[fd] = path;
    return fd;
  }
  std::string path_of(int fd) {
    const std::lock_guard lock(mutex_);
    return paths_[fd];
  }

  std::mutex mutex_;
  std::map<int, std::string> paths_;  // of open descriptors
};

class RecordingFileSystem final : public ForwardingFileSystem {
 public:
  int before(const std::string& operation, const std::string& path) override {
    attempts_.emplace_back(operation, path);
    return 0;
  }
  void succeeded(const std::string& operation, const std::string& path) override {
    done_.emplace_back(operation, path);
  }

  using Calls = std::vector<std::pair<std::string, std::string>>;  // operation, path
  const Calls& attempts() const { return attempts_; }
  const Calls& done() const { return done_; }

 private:
  Calls attempts_, done_;
};

}  // namespace dagpam::checkpoint::testing

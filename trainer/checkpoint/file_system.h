// trainer/checkpoint/file_system.h: the system calls that checkpoints are made of, behind one seam.
//
// Calls are as raw as the system's: they return -1 and set errno, may be interrupted (EINTR) and
// may write or read less than asked. file_operations.h turns them into whole, checked operations;
// nothing else calls them. A test replaces this class to record the calls, or to make the n-th of
// them fail, stop short or kill.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dagpam::checkpoint {

struct FileStatus {
  enum class Kind { kFile, kFolder, kOther };  // a symbolic link, FIFO or device is kOther
  Kind kind = Kind::kOther;
  int64_t bytes = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // New or emptied file for writing; reading; a folder for sync. Never follows a link in the last
  // place and never blocks on a FIFO.
  virtual int open_write(const std::string& path) = 0;
  virtual int open_read(const std::string& path) = 0;
  virtual int open_folder(const std::string& path) = 0;
  virtual int close(int fd) = 0;

  virtual ssize_t write(int fd, std::span<const std::byte> bytes) = 0;
  virtual ssize_t pread(int fd, std::span<std::byte> out, int64_t offset) = 0;
  virtual int fsync(int fd) = 0;  // of a file or a folder

  virtual int fstat(int fd, FileStatus& out) = 0;
  virtual int lstat(const std::string& path, FileStatus& out) = 0;
  virtual int rename(const std::string& from, const std::string& to) = 0;
  virtual int mkdir(const std::string& path) = 0;
  virtual int unlink(const std::string& path) = 0;
  virtual int rmdir(const std::string& path) = 0;
  virtual int list(const std::string& path,
                   std::vector<std::string>& names) = 0;  // without . and ..

  // What an unprivileged writer may still write to the file system that holds the folder `path`.
  virtual int free_bytes(const std::string& path, int64_t& out) = 0;
};

// The operating system's. Lives as long as the process; callable from any thread.
FileSystem& posix_file_system();

}  // namespace dagpam::checkpoint

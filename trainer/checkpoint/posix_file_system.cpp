#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <limits>

#include "trainer/checkpoint/file_system.h"

namespace dagpam::checkpoint {
namespace {

FileStatus from_stat(const struct stat& status) {
  FileStatus out;
  if (S_ISREG(status.st_mode)) out.kind = FileStatus::Kind::kFile;
  if (S_ISDIR(status.st_mode)) out.kind = FileStatus::Kind::kFolder;
  out.bytes = status.st_size;
  return out;
}

class PosixFileSystem final : public FileSystem {
 public:
  int open_write(const std::string& path) override {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                  0644);
  }
  int open_read(const std::string& path) override {
    return ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  }
  int open_folder(const std::string& path) override {
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  int close(int fd) override { return ::close(fd); }

  ssize_t write(int fd, std::span<const std::byte> bytes) override {
    return ::write(fd, bytes.data(), bytes.size());
  }
  ssize_t pread(int fd, std::span<std::byte> out, int64_t offset) override {
    return ::pread(fd, out.data(), out.size(), offset);
  }
  int fsync(int fd) override { return ::fsync(fd); }

  int fstat(int fd, FileStatus& out) override {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return -1;
    out = from_stat(status);
    return 0;
  }
  int lstat(const std::string& path, FileStatus& out) override {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return -1;
    out = from_stat(status);
    return 0;
  }
  int rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str());
  }
  int mkdir(const std::string& path) override { return ::mkdir(path.c_str(), 0755); }
  int unlink(const std::string& path) override { return ::unlink(path.c_str()); }
  int rmdir(const std::string& path) override { return ::rmdir(path.c_str()); }

  int list(const std::string& path, std::vector<std::string>& names) override {
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) return -1;
    names.clear();
    errno = 0;  // readdir tells an error from the end by errno alone
    while (const dirent* entry = ::readdir(folder)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    const int error = errno;
    ::closedir(folder);
    errno = error;
    return error == 0 ? 0 : -1;
  }

  int free_bytes(const std::string& path, int64_t& out) override {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) return -1;
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    if (__builtin_mul_overflow(status.f_bavail, status.f_frsize, &out)) out = kMost;
    return 0;
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem file_system;
  return file_system;
}

}  // namespace dagpam::checkpoint

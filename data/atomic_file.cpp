#include "data/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

[[noreturn]] void fail(const std::string& path, const std::string& action, int error) {
  throw IoError(path + ": cannot " + action + ": " + std::strerror(error) +
                "; free space or choose another folder");
}

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  return path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

int open_retrying(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  do {  // a name may be left over from an earlier process with this number
    temporary_ = temporary_name(path_);
    fd_ = open_retrying(temporary_, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail(path_, "create", errno);
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* bytes, size_t size) {
  const char* source = static_cast<const char*>(bytes);
  if (buffer_.size() + size > kBufferBytes) flush();
  if (size >= kBufferBytes) {
    write_fully(fd_, source, size, path_);
  } else {
    buffer_.insert(buffer_.end(), source, source + size);
  }
}

void AtomicFile::flush() {
  write_fully(fd_, buffer_.data(), buffer_.size(), path_);
  buffer_.clear();
}

void AtomicFile::sync(Durability durability) {
  flush();
  if (durability == Durability::kDurable && ::fsync(fd_) != 0) fail(path_, "make durable", errno);
  // close() gives the descriptor up even where it fails, so it is never tried twice.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail(path_, "close", errno);
}

void AtomicFile::commit() {
  if (fd_ >= 0) sync();
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail(path_, "rename " + temporary_ + " to it", errno);
  }
  committed_ = true;
}

void write_fully(int fd, const void* bytes, size_t size, const std::string& path) {
  const char* rest = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(fd, rest, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(path, "write", written < 0 ? errno : EIO);
    rest += written;
    size -= static_cast<size_t>(written);
  }
}

void sync_folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = open_retrying(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(folder, "open", errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some network file systems cannot do this to a folder, and say so by EINVAL.
  if (result != 0 && error != EINVAL) fail(folder, "make durable", error);
}

}  // namespace dagpam::data

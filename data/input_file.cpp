#include "data/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw DataError(path + ": cannot be read (" + why +
                  "); expected a file of `dagpam data prepare`");
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  do {  // O_NONBLOCK: opening a pipe must not wait for its writer
    fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) refuse(path_, std::strerror(errno));
  struct stat status {};
  const int result = ::fstat(fd_, &status);
  const int error = errno;
  if (result == 0 && S_ISREG(status.st_mode)) {
    size_ = status.st_size;
    return;
  }
  ::close(fd_);
  refuse(path_, result != 0 ? std::strerror(error) : "not a regular file");
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

void InputFile::read(int64_t offset, void* out, size_t size) const {
  char* target = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = ::pread(fd_, target, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw IoError(path_ + ": cannot read at byte " + std::to_string(offset) + ": " +
                    std::strerror(errno));
    }
    if (got == 0) {
      throw DataError(path_ + ": ends at byte " + std::to_string(offset) + ", expected " +
                      std::to_string(size_) +
                      " bytes: it was cut short while in use, or is damaged");
    }
    target += got;
    size -= static_cast<size_t>(got);
    offset += got;
  }
}

}  // namespace dagpam::data

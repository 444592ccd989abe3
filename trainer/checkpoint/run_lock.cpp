#include "trainer/checkpoint/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <sstream>
#include <system_error>

#include "configs/errors.h"
#include "trainer/checkpoint/file_operations.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::checkpoint {
namespace {

[[noreturn]] void throw_io(const std::string& what, const std::string& path, int error) {
  throw IoError("cannot " + what + " " + path + ": " + std::generic_category().message(error) +
                " (errno " + std::to_string(error) + ")");
}

std::string holder_text(const std::string& job, const std::string& lease) {
  std::string out = "host " + host_name() + "\npid " + std::to_string(::getpid()) + "\nstarted " +
                    utc_now() + "\n";
  if (!job.empty()) out += "job " + job + "\n";
  return out + "lease " + lease + "\n";
}

std::string read_text(int fd) {
  std::array<char, 1024> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  return n < 0 ? "" : std::string(text.data(), static_cast<size_t>(n));
}

// "host a, pid 7, started ...": the lines of a LOCK without the lease, safe to print.
std::string describe_holder(const std::string& text) {
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("lease ")) continue;
    out += (out.empty() ? "" : ", ") + line;
  }
  return out.empty() ? "a program that has not said its name yet" : in_quotes(out);
}

void write_text(int fd, const std::string& text, const std::string& path) {
  if (::ftruncate(fd, 0) != 0) throw_io("empty", path, errno);
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n =
        ::pwrite(fd, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io("write", path, errno);
    done += static_cast<size_t>(n);
  }
}

}  // namespace

RunLock::RunLock(const std::string& run_dir, const std::string& job)
    : path_(run_dir + "/LOCK"), lease_(random_hex()) {
  const int fd =
      ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (fd < 0) throw_io("open", path_, errno);
  int result = ::flock(fd, LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR) result = ::flock(fd, LOCK_EX | LOCK_NB);
  if (result != 0) {
    const int error = errno;
    const std::string holder = describe_holder(read_text(fd));
    ::close(fd);
    if (error != EWOULDBLOCK) throw_io("lock (does its file system know flock?)", path_, error);
    throw CheckpointError(run_dir + ": in use by " + holder +
                          ": wait until it ends, stop it, or choose another --run-dir");
  }
  try {
    write_text(fd, holder_text(job, lease_), path_);
  } catch (const IoError&) {
    ::close(fd);
    throw;
  }
  fd_ = fd;
}

RunLock::~RunLock() { release(); }

void RunLock::check() const {
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  const std::string text = fd < 0 ? "" : read_text(fd);
  if (fd >= 0) ::close(fd);
  if (text.find("lease " + lease_ + "\n") != std::string::npos) return;
  throw CheckpointError(path_ + ": no longer held by this program but by " + describe_holder(text) +
                        ": nothing is committed");
}

void RunLock::release() noexcept {
  if (fd_ < 0) return;
  // A later holder's text must stay: only what is still ours is emptied.
  if (read_text(fd_).find("lease " + lease_ + "\n") != std::string::npos) {
    if (::ftruncate(fd_, 0) != 0) errno = 0;  // the lock itself goes with the descriptor
  }
  ::close(fd_);
  fd_ = -1;
}

}  // namespace dagpam::checkpoint

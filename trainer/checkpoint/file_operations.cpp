#include "trainer/checkpoint/file_operations.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "configs/errors.h"

namespace dagpam::checkpoint {
namespace {

[[noreturn]] void throw_io(const std::string& operation, const std::string& path, int error) {
  throw IoError("cannot " + operation + " " + path + ": " + std::generic_category().message(error) +
                " (errno " + std::to_string(error) + ")");
}

// Repeats a call that a signal interrupted.
template <typename Call>
auto retry(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

OutputFile::OutputFile(FileSystem& fs, std::string path) : fs_(fs), path_(std::move(path)) {
  fd_ = retry([&] { return fs_.open_write(path_); });
  if (fd_ < 0) throw_io("create", path_, errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) fs_.close(fd_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = retry([&] { return fs_.write(fd_, bytes); });
    if (n < 0) throw_io("write", path_, errno);
    if (n == 0) throw_io("write", path_, ENOSPC);  // no error and no progress: do not spin
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void OutputFile::finish() {
  // An fsync that failed once may report success when repeated, with the data lost: never repeat
  // it.
  if (retry([&] { return fs_.fsync(fd_); }) != 0) throw_io("fsync", path_, errno);
  const int fd = fd_;
  fd_ = -1;
  // Linux has closed the descriptor also where it reports EINTR.
  if (fs_.close(fd) != 0 && errno != EINTR) throw_io("close", path_, errno);
}

InputFile::InputFile(FileSystem& fs, std::string path) : fs_(fs), path_(std::move(path)) {
  const std::optional<FileStatus> status = status_of(fs_, path_);
  if (!status) {
    throw CheckpointError(path_ + ": missing: restore it or choose another checkpoint");
  }
  if (status->kind != FileStatus::Kind::kFile) {
    throw CheckpointError(path_ + ": not a regular file: links, folders and devices are refused");
  }
  fd_ = retry([&] { return fs_.open_read(path_); });
  if (fd_ < 0) throw_io("open", path_, errno);
  FileStatus opened;
  if (retry([&] { return fs_.fstat(fd_, opened); }) != 0) {
    const int error = errno;
    fs_.close(fd_);
    throw_io("stat", path_, error);
  }
  if (opened.kind != FileStatus::Kind::kFile) {
    fs_.close(fd_);
    throw CheckpointError(path_ + ": was replaced while it was opened");
  }
  bytes_ = opened.bytes;
}

InputFile::~InputFile() { fs_.close(fd_); }

void InputFile::read(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = retry([&] { return fs_.pread(fd_, out, offset); });
    if (n < 0) throw_io("read", path_, errno);
    if (n == 0) {
      throw CheckpointError(path_ + ": ends at byte " + std::to_string(offset) + ", " +
                            std::to_string(out.size()) + " more were expected: the file is cut");
    }
    out = out.subspan(static_cast<size_t>(n));
    offset += n;
  }
}

std::optional<FileStatus> status_of(FileSystem& fs, const std::string& path) {
  FileStatus status;
  if (retry([&] { return fs.lstat(path, status); }) == 0) return status;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw_io("stat", path, errno);
}

std::vector<std::string> list_folder(FileSystem& fs, const std::string& path) {
  std::vector<std::string> names;
  if (retry([&] { return fs.list(path, names); }) != 0) throw_io("list", path, errno);
  std::sort(names.begin(), names.end());
  return names;
}

bool make_folder(FileSystem& fs, const std::string& path) {
  if (retry([&] { return fs.mkdir(path); }) == 0) return true;
  if (errno != EEXIST) throw_io("make folder", path, errno);
  return false;  // what is there shows when it is used
}

void make_folders(FileSystem& fs, const std::string& path) {
  if (status_of(fs, path)) return;
  const std::string parent = parent_of(path);
  if (parent != path) make_folders(fs, parent);
  if (make_folder(fs, path)) sync_folder(fs, parent);
}

void sync_folder(FileSystem& fs, const std::string& path) {
  const int fd = retry([&] { return fs.open_folder(path); });
  if (fd < 0) throw_io("open folder", path, errno);
  const int result = retry([&] { return fs.fsync(fd); });
  const int error = errno;
  fs.close(fd);
  if (result != 0) throw_io("fsync folder", path, error);
}

void rename_path(FileSystem& fs, const std::string& from, const std::string& to) {
  if (retry([&] { return fs.rename(from, to); }) != 0) {
    throw_io("rename " + from + " to", to, errno);
  }
}

void remove_folder(FileSystem& fs, const std::string& path) {
  for (const std::string& name : list_folder(fs, path)) {
    const std::string file = path + "/" + name;
    if (retry([&] { return fs.unlink(file); }) != 0) throw_io("remove", file, errno);
  }
  if (retry([&] { return fs.rmdir(path); }) != 0) throw_io("remove folder", path, errno);
}

std::string in_quotes(const std::string& text) {
  constexpr size_t kLongest = 120;
  std::string out = "'";
  for (const char c : text.substr(0, kLongest)) {
    out += (c >= ' ' && c <= '~') ? c : '?';
  }
  return out + (text.size() > kLongest ? "...'" : "'");
}

}  // namespace dagpam::checkpoint

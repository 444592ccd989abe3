#include "data/staged_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "configs/errors.h"
#include "data/atomic_file.h"

namespace dagpam::data {
namespace {

namespace fs = std::filesystem;

// In the order in which they appear under their names: an .idx after its .bin, the description
// last. Stopped between two, the old description still names the tokens and digests of the old
// files. Those of a text set and of a pair set: a set of one kind replaces one of the other.
constexpr const char* kSuffixes[] = {".train.bin",
                                     ".train.idx",
                                     ".valid.bin",
                                     ".valid.idx",
                                     ".test.bin",
                                     ".test.idx",
                                     ".train.source.bin",
                                     ".train.source.idx",
                                     ".train.target.bin",
                                     ".train.target.idx",
                                     ".valid.source.bin",
                                     ".valid.source.idx",
                                     ".valid.target.bin",
                                     ".valid.target.idx",
                                     ".test.source.bin",
                                     ".test.source.idx",
                                     ".test.target.bin",
                                     ".test.target.idx",
                                     ".json"};
constexpr std::string_view kPartial = ".partial-";
constexpr std::string_view kLock = ".lock";

enum class Missing { kMake, kLeave };

// A locked descriptor of `path`; -1 where another holds it, or it is missing and left so.
int take_lock(const std::string& path, Missing missing) {
  const bool make = missing == Missing::kMake;
  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (make ? O_CREAT : 0);
  const int fd = ::open(path.c_str(), flags, 0666);
  if (fd < 0 && !make) return -1;
  if (fd < 0) {
    throw IoError(path + ": cannot be made: " + std::strerror(errno) +
                  ": choose another --out or check its folder");
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    // A file system that knows no locks: nobody removes anything there.
    if (make && errno != EWOULDBLOCK) return fd;
    ::close(fd);
    return -1;
  }
  struct stat opened {
  }, named{};
  // Between open and flock a clean-up may have taken the name away: then the lock guards nothing.
  if (::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
      opened.st_ino == named.st_ino && opened.st_dev == named.st_dev) {
    return fd;
  }
  ::close(fd);
  return -1;
}

// The files beside `prefix` whose name starts with its last part and `rest`.
std::vector<fs::path> files_beside(const std::string& prefix, std::string_view rest) {
  const fs::path folder = fs::path(prefix).parent_path();
  const std::string start = fs::path(prefix).filename().string() + std::string(rest);
  std::vector<fs::path> files;
  std::error_code error;  // a folder that cannot be listed is left as it is
  for (fs::directory_iterator it(folder.empty() ? "." : folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename().string().starts_with(start)) files.push_back(it->path());
  }
  return files;
}

// Everything staged under a prefix, its lock last.
void remove_staged(const std::string& staged) {
  std::error_code error;
  for (const fs::path& file : files_beside(staged, ".")) {
    if (file.extension() != kLock) fs::remove(file, error);
  }
  fs::remove(staged + std::string(kLock), error);
}

// What killed calls left: every file whose name starts as that of a lock that can be had.
void remove_left_over(const std::string& prefix) {
  for (const fs::path& lock : files_beside(prefix, kPartial)) {
    if (lock.extension() != kLock) continue;
    const int fd = take_lock(lock.string(), Missing::kLeave);
    if (fd < 0) continue;
    remove_staged((lock.parent_path() / lock.stem()).string());
    ::close(fd);
  }
}

// Makes `folder` where it is not there. Gives what it made, outermost first.
std::vector<std::string> make_folders(const fs::path& folder, const std::string& prefix) {
  std::error_code error;
  std::vector<std::string> made;
  for (fs::path one = folder; !one.empty() && !fs::exists(one, error); one = one.parent_path()) {
    made.insert(made.begin(), one.string());
  }
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder, error)) {
    throw IoError("--out '" + prefix + "': folder '" + folder.string() + "' cannot be made (" +
                  (error ? error.message() : "a file has its name") + "): choose another --out");
  }
  return made;
}

}  // namespace

StagedFiles::StagedFiles(const std::string& prefix) : final_(prefix) {
  if (prefix.empty() || prefix.back() == '/') {
    throw ConfigError("--out '" + prefix + "': expected a folder and the start of a file name");
  }
  const fs::path folder = fs::path(prefix).parent_path();
  std::error_code error;
  if (!folder.empty()) made_ = make_folders(folder, prefix);
  for (const char* suffix : kSuffixes) {
    if (fs::is_directory(final_ + suffix, error)) {
      throw IoError(final_ + suffix +
                    ": is a folder, expected a file or nothing: choose another --out");
    }
  }
  remove_left_over(final_);
  for (int number = 0; lock_ < 0; ++number) {
    staged_ =
        final_ + std::string(kPartial) + std::to_string(::getpid()) + "-" + std::to_string(number);
    lock_ = take_lock(staged_ + std::string(kLock), Missing::kMake);
  }
}

StagedFiles::~StagedFiles() {
  remove_staged(staged_);
  ::close(lock_);
  std::error_code error;  // a folder with something in it stays
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) fs::remove(*folder, error);
}

void StagedFiles::require_not_output(const std::string& path) const {
  for (const char* suffix : kSuffixes) {
    std::error_code error;  // equivalent() is false with an error where either is missing
    if (fs::equivalent(path, final_ + suffix, error)) {
      throw ConfigError("--out '" + final_ + "': would replace the input " + path +
                        ": choose another --out");
    }
  }
}

void StagedFiles::publish() {
  for (const char* suffix : kSuffixes) {
    const std::string from = staged_ + suffix, to = final_ + suffix;
    std::error_code error;
    if (fs::exists(from, error)) {
      fs::rename(from, to, error);
    } else {
      fs::remove(to, error);
    }
    if (error) throw IoError(to + ": cannot be replaced: " + error.message());
  }
  sync_folder_of(final_);
  for (const std::string& folder : made_) sync_folder_of(folder);
}

}  // namespace dagpam::data

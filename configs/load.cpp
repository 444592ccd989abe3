// Files in order, each over the one before, then the overrides.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "configs/errors.h"
#include "configs/parse.h"
#include "configs/run_config.h"
#include "configs/suggest.h"
#include "configs/text.h"

namespace dagpam::configs {
namespace {

constexpr int64_t kLargest = 1 << 20;  // bytes; a thousand times what a config needs

class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// What is read, as the command line names it.
struct Named {
  const std::string& file;
  const std::string& option;
  [[noreturn]] void fail(const std::string& problem) const {
    throw ConfigError(option + " " + (file.empty() ? "''" : one_line(file)) + ": " + problem);
  }
};

// The neighbour in its folder that the name may be a slip of.
std::string missing_file_remedy(const Named& named) {
  namespace fs = std::filesystem;
  const fs::path path(named.file);
  std::error_code ignored;
  std::vector<std::string> names;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator it(folder, ignored), end; it != end; it.increment(ignored)) {
    constexpr size_t kEnough = 1000;
    if (ignored || names.size() >= kEnough) break;
    names.push_back(it->path().filename().string());
  }
  const auto near = closest(path.filename().string(), names);
  if (near) return "did you mean " + one_line((path.parent_path() / *near).string()) + "?";
  return named.option == "--config" ? "check the path; the recipes are in configs/recipes/"
                                    : "check the path; ready ones are in configs/clusters/";
}

}  // namespace

std::string read_config_file(const std::string& file, const std::string& option) {
  const Named named{file, option};
  if (file.empty()) named.fail("the file's name is empty: name a .textproto file");
  // Without O_NONBLOCK a pipe that nobody writes to would hold the program here.
  const OpenFile fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0 && errno == ENOENT) named.fail("no such file: " + missing_file_remedy(named));
  if (fd.get() < 0) {
    named.fail(std::string("cannot be read (") + std::strerror(errno) +
               "): check the path and its permissions");
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) named.fail(std::string("fstat: ") + std::strerror(errno));
  if (S_ISDIR(info.st_mode)) named.fail("is a folder: name a .textproto file in it");
  if (!S_ISREG(info.st_mode)) named.fail("is no regular file: name a .textproto file");
  std::string text;
  std::vector<char> chunk(1 << 16);
  for (;;) {
    const ssize_t got = ::read(fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) named.fail(std::string("read failed: ") + std::strerror(errno));
    if (got == 0) break;
    text.append(chunk.data(), static_cast<size_t>(got));
    if (static_cast<int64_t>(text.size()) > kLargest) {
      const auto size = std::max<int64_t>(info.st_size, static_cast<int64_t>(text.size()));
      named.fail("holds " + std::to_string(size) + " bytes, a config at most " +
                 std::to_string(kLargest) + ": is it the right file?");
    }
  }
  // Some editors begin a file with a byte order mark, which is no part of the text.
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  return text;
}

RunConfig load(const std::vector<std::string>& files, const std::vector<std::string>& overrides) {
  RunConfig config;
  for (const std::string& file : files) {
    RunConfig part;
    Written written;
    parse_text(read_config_file(file), {file, ""}, part, written);
    overlay(config, part, written);
  }
  for (const std::string& assignment : overrides) apply_override(config, assignment);
  return config;
}

}  // namespace dagpam::configs

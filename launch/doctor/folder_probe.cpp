#include "launch/doctor/folder_probe.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/this_start.h"

namespace dagpam::launch {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr size_t kBlock = 1 << 20;
constexpr int64_t kOthersBytes = 64 << 10;
constexpr double kMiB = 1 << 20;
constexpr double kRoom = 256 * kMiB;  // less is left, and even logs may not fit
constexpr double kSlow = 5e6;         // bytes a second, of a disk that would hold up every save

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string mib_text(double bytes) {
  std::ostringstream text;
  text.precision(1);
  text << std::fixed << bytes / kMiB << " MiB";
  return text.str();
}

fs::path nearest_folder(const std::string& run_dir) {
  std::error_code error;
  fs::path path = fs::absolute(run_dir, error);
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

double free_bytes(const fs::path& folder) {
  struct statvfs status {};
  if (statvfs(folder.c_str(), &status) != 0) return 0;
  return static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize);
}

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// What a rank has to say of its own file.
struct Attempt {
  std::string failed;  // the call, "" where all went well
  int error = 0;
  double write_s = 0, fsync_ms = 0, rename_ms = 0;
};

bool write_blocks(int fd, const std::string& head, int64_t bytes) {
  std::string block = head;
  block.resize(kBlock, 'x');
  while (bytes > 0) {
    const ssize_t n =
        ::write(fd, block.data(), std::min<size_t>(kBlock, static_cast<size_t>(bytes)));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes -= n;
  }
  return true;
}

// As a save does it: write, flush, rename, flush the folder; and a lock, as a run holds one.
Attempt write_file(const fs::path& path, const std::string& nonce, int64_t bytes) {
  Attempt attempt;
  const auto fails = [&](const char* call) {
    attempt.failed = call;
    attempt.error = errno;
    return attempt;
  };
  const fs::path part = path.string() + ".part";
  const auto start = Clock::now();
  const Descriptor file(part, O_WRONLY | O_CREAT | O_EXCL);
  if (file.get() < 0) return fails("open");
  if (!write_blocks(file.get(), nonce, bytes)) return fails("write");
  const auto written = Clock::now();
  if (::fsync(file.get()) != 0) return fails("fsync");
  attempt.fsync_ms = 1e3 * seconds_since(written);
  attempt.write_s = seconds_since(start);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return fails("flock");
  const auto named = Clock::now();
  if (::rename(part.c_str(), path.c_str()) != 0) return fails("rename");
  const Descriptor folder(path.parent_path(), O_RDONLY | O_DIRECTORY);
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return fails("fsync of the folder");
  attempt.rename_ms = 1e3 * seconds_since(named);
  return attempt;
}

bool holds(const fs::path& path, const std::string& nonce) {
  std::ifstream file(path);
  std::string head(nonce.size(), '\0');
  return static_cast<bool>(file.read(head.data(), static_cast<std::streamsize>(head.size()))) &&
         head == nonce;
}

Finding trouble(const Attempt& attempt, const fs::path& folder, const std::string& who) {
  const std::string what = who + " cannot " + attempt.failed + " in " + folder.string() + " (" +
                           std::strerror(attempt.error) + ")";
  const auto error = [&](const char* check, const char* mend) {
    return Finding{Level::kError, check, what, mend, ExitCode::kIo};
  };
  switch (attempt.error) {
    case EROFS:
      return error("folder.read-only", "mount it for writing, or choose another --run-dir");
    case EACCES:
    case EPERM:
      return error("folder.forbidden",
                   "give this user the right to write there, or choose another");
    case ENOSPC:
    case EDQUOT:
      return error("folder.full", "make room there, or choose another --run-dir");
    case ENOTDIR:
      return error("folder.no-folder", "a file is in the way: choose another --run-dir");
    default:
      return error(attempt.failed == "flock" ? "folder.lock" : "folder.write",
                   "a run needs a file system with writes, fsync, rename and flock");
  }
}

// One finding for each kind of trouble, with all ranks that have it.
void judge_attempts(const std::vector<Attempt>& attempts, const std::vector<std::string>& folders,
                    Findings& findings) {
  std::vector<bool> told(attempts.size());
  for (size_t i = 0; i < attempts.size(); ++i) {
    if (attempts[i].failed.empty() || told[i]) continue;
    std::vector<int> alike;
    for (size_t j = i; j < attempts.size(); ++j) {
      if (attempts[j].error != attempts[i].error || attempts[j].failed.empty()) continue;
      told[j] = true;
      alike.push_back(static_cast<int>(j));
    }
    findings.push_back(trouble(attempts[i], folders[i], ranks_text(alike)));
  }
}

// Ranks whose file this one does not see, after some patience.
std::vector<int> missing_files(const fs::path& folder, const std::string& nonce,
                               const std::vector<Attempt>& attempts, double patience_s) {
  const auto start = Clock::now();
  while (true) {
    std::vector<int> missing;
    for (size_t rank = 0; rank < attempts.size(); ++rank) {
      if (!attempts[rank].failed.empty()) continue;
      if (!holds(folder / (".dagpam-doctor-" + nonce + "-" + std::to_string(rank)), nonce)) {
        missing.push_back(static_cast<int>(rank));
      }
    }
    if (missing.empty() || seconds_since(start) > patience_s) return missing;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void judge_sharing(const std::vector<std::string>& answers, const std::vector<std::string>& folders,
                   Findings& findings) {
  std::vector<int> alone;
  for (size_t rank = 1; rank < answers.size(); ++rank) {
    const auto missing = Json::parse(answers[rank]).get<std::vector<int>>();
    if (std::find(missing.begin(), missing.end(), 0) != missing.end()) {
      alone.push_back(static_cast<int>(rank));
    }
  }
  if (alone.empty()) return;
  const std::string& other = folders[static_cast<size_t>(alone.front())];
  findings.push_back({Level::kError, "folder.not-shared",
                      "what rank 0 writes (" + folders[0] + ") is not seen by " +
                          ranks_text(alone) + " (" + other + ")",
                      "choose a --run-dir on a file system that all nodes mount alike, by an "
                      "absolute path",
                      ExitCode::kIo});
}

void judge_room(const FolderReport& report, const FolderWishes& wishes, Findings& findings) {
  const double least = std::max(kRoom, wishes.needed_bytes);
  if (report.free_bytes < least) {
    findings.push_back({Level::kError, "folder.space",
                        report.folder + " has " + mib_text(report.free_bytes) + " free, " +
                            mib_text(least) + " are needed",
                        "make room, keep fewer checkpoints, or choose another --run-dir",
                        ExitCode::kIo});
  } else if (report.write_mb_s > 0 && report.write_mb_s * 1e6 < kSlow) {
    findings.push_back({Level::kWarning, "folder.slow",
                        report.folder + " takes " + std::to_string(report.write_mb_s) + " MB/s",
                        "choose a faster file system, or save less often"});
  }
}

Json to_json(const Attempt& attempt, const fs::path& folder) {
  return {{"failed", attempt.failed}, {"error", attempt.error}, {"folder", folder.string()}};
}

}  // namespace

FolderReport probe_folder(const std::string& run_dir, const FolderWishes& wishes,
                          parallel::Communicator& world) {
  FolderReport report;
  const int rank = world.rank();
  const fs::path folder = nearest_folder(run_dir);
  const std::string nonce = world.all_gather_bytes(checkpoint::random_hex(2)).front();
  const fs::path file = folder / (".dagpam-doctor-" + nonce + "-" + std::to_string(rank));
  // What does not fit is not tried: a full disk would disturb whoever else writes there.
  const bool fits = free_bytes(folder) > static_cast<double>(wishes.write_bytes) + kBlock;
  const int64_t bytes = rank == 0 && fits ? wishes.write_bytes : kOthersBytes;
  const Attempt mine = write_file(file, nonce, bytes);

  std::vector<Attempt> attempts;
  std::vector<std::string> folders;
  for (const std::string& text : world.all_gather_bytes(to_json(mine, folder).dump())) {
    const Json json = Json::parse(text);
    attempts.push_back({json["failed"], json["error"]});
    folders.push_back(json["folder"]);
  }
  const auto missing = missing_files(folder, nonce, attempts, wishes.patience_s);
  const auto answers = world.all_gather_bytes(Json(missing).dump());
  std::error_code ignored;
  fs::remove(file, ignored);
  fs::remove(file.string() + ".part", ignored);

  report.folder = folders[0];
  report.free_bytes = free_bytes(folder);
  if (mine.failed.empty() && bytes == wishes.write_bytes) {
    report.write_mb_s = static_cast<double>(bytes) / mine.write_s / 1e6;
  }
  report.fsync_ms = mine.fsync_ms;
  report.rename_ms = mine.rename_ms;
  judge_attempts(attempts, folders, report.findings);
  judge_sharing(answers, folders, report.findings);
  Findings room;
  if (attempts[0].failed.empty()) judge_room(report, wishes, room);
  // Rank 0's disk: the others take its word.
  Json told = Json::array();
  for (const Finding& finding : room) told.push_back(launch::to_json(finding));
  for (const Json& finding : Json::parse(world.all_gather_bytes(told.dump()).front())) {
    report.findings.push_back(finding_from_json(finding));
  }
  return report;
}

Findings judge_lock(const std::string& run_dir) {
  const std::string path = run_dir + "/LOCK";
  const Descriptor file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file.get() < 0) return {};
  std::array<char, 512> text{};
  const ssize_t n = ::pread(file.get(), text.data(), text.size(), 0);
  if (n <= 0) return {};
  std::string holder;
  std::istringstream lines(std::string(text.data(), static_cast<size_t>(n)));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("lease ")) holder += (holder.empty() ? "" : ", ") + line;
  }
  for (char& c : holder) c = std::isprint(static_cast<unsigned char>(c)) != 0 ? c : '?';
  if (::flock(file.get(), LOCK_SH | LOCK_NB) != 0) {
    return {{Level::kError, "lock.held", run_dir + " is in use by " + holder,
             "wait until it ends, stop it, or choose another --run-dir", ExitCode::kBadCheckpoint}};
  }
  return {{Level::kWarning, "lock.stale", path + " tells of a run that died: " + holder,
           "make sure that it is gone from that host, then go on with --resume auto, which takes "
           "the lock over"}};
}

}  // namespace dagpam::launch

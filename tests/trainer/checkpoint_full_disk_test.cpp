// A disk that is really full: nothing that was saved suffers, and once there is room the next save
// succeeds.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "tests/trainer/checkpoint_fixtures.h"
#include "tests/trainer/memory_file_system.h"

namespace dagpam::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

// A tmpfs of its own, in a mount namespace that ends with this process.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& bytes) {
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, ("size=" + bytes).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount(folder_.path().c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_there() const { return mounted_; }
  const std::string& path() const { return folder_.path(); }
  std::string directory() const { return path() + "/checkpoints"; }

  // Leaves at most `bytes` free.
  void fill(int64_t bytes) const {
    const auto room = static_cast<int64_t>(fs::space(path()).available);
    if (room > bytes) {
      write_file(path() + "/filler", std::string(static_cast<size_t>(room - bytes), 'x'));
    }
  }
  void empty() const { fs::remove(path() + "/filler"); }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

// As the program does it: clean, save; what it says where that fails.
std::string save(const std::string& directory, int64_t step, const std::string& lease = kLease) {
  try {
    remove_stale(posix_file_system(), directory, lease);
    Save{.directory = directory, .step = step, .lease = lease}.run();
    return "";
  } catch (const IoError& error) {
    EXPECT_EQ(error.code(), ExitCode::kIo);
    return error.what();
  }
}

std::vector<int64_t> valid_steps(const std::string& directory) {
  std::vector<int64_t> steps;
  for (const StepFolder& folder : list_checkpoints(posix_file_system(), directory)) {
    EXPECT_EQ(problem_of(folder.path), "");
    steps.push_back(folder.step);
  }
  return steps;
}

TEST(CheckpointFullDisk, ATmpfsOfOneMebibyte) {
  const SmallDisk disk("1m");
  if (!disk.is_there()) GTEST_SKIP() << "mounting a tmpfs needs root";
  ASSERT_EQ(save(disk.directory(), 100), "");
  int failures = 0;
  int64_t pages = 0;
  for (bool fits = false; !fits; ++pages) {
    ASSERT_LT(pages, 100);
    disk.fill(pages * 4096);
    const std::string message = save(disk.directory(), 200);
    fits = message.empty();
    if (fits) break;
    ++failures;
    EXPECT_NE(message.find("No space left"), std::string::npos) << message;
    EXPECT_NE(message.find(disk.directory()), std::string::npos) << message;
    EXPECT_EQ(valid_steps(disk.directory()), std::vector<int64_t>{100});
    remove_stale(posix_file_system(), disk.directory(), kOtherLease);
    disk.empty();
  }
  disk.empty();
  EXPECT_GE(failures, 5);  // a page each: shards, copies and manifest in turn
  EXPECT_EQ(valid_steps(disk.directory()), (std::vector<int64_t>{100, 200}));
  EXPECT_EQ(save(disk.directory(), 300, kOtherLease), "");
}

// Where nothing can be mounted: a limit on the size of files.
TEST(CheckpointFullDisk, ALimitOnFileSizes) {
  ::signal(SIGXFSZ, SIG_IGN);
  const TemporaryFolder folder(/*in_memory=*/true);
  ASSERT_EQ(save(folder.path(), 100), "");
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  for (const rlim_t bytes : {0, 1, 12, 13, 15, 500, 700, 1000, 2000}) {
    const rlimit limit{bytes, old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const std::string message = save(folder.path(), 200);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
    EXPECT_NE(message.find("File too large"), std::string::npos) << bytes << ": " << message;
    EXPECT_NE(message.find(folder.path()), std::string::npos) << message;
    EXPECT_EQ(valid_steps(folder.path()), std::vector<int64_t>{100});
  }
  EXPECT_EQ(save(folder.path(), 200, kOtherLease), "");
  EXPECT_EQ(valid_steps(folder.path()), (std::vector<int64_t>{100, 200}));
}

class FullFileSystem final : public MemoryFileSystem {
 public:
  explicit FullFileSystem(int64_t room) : room_(room) {}
  int free_bytes(const std::string&, int64_t& out) override {
    out = room_;
    return 0;
  }

 private:
  int64_t room_;
};

TEST(CheckpointFullDisk, TheWarningComesBeforeTheWrite) {
  // 4 bytes an element; rank 0 counts what it writes itself for each of the two.
  constexpr int64_t kNeeded = 2 * 4 * (5 * 6 + 4 * 4 + 7 + 5 * 3 * 1 + 1 + 0 + 5 * 2 * 2);
  for (const int64_t room : {int64_t{0}, kNeeded - 1, kNeeded, int64_t{1} << 40}) {
    FullFileSystem file_system(room);
    std::vector<std::string> lines;
    const auto warn = [&](const std::string& line) {
      EXPECT_TRUE(list_folder(file_system, "/c").empty()) << "something was written before";
      lines.push_back(line);
    };
    const Save save{.fs = file_system, .directory = "/c"};
    CheckpointWriter writer(file_system, {"/c", 100, kRunId, kLease, warn});
    for (int rank = 0; rank < 2; ++rank) save.write_shard(writer, rank);
    EXPECT_EQ(lines.size(), room < kNeeded ? 1u : 0u) << room;
    if (lines.empty()) continue;
    EXPECT_EQ(lines[0].find("/c: the save of step 100 needs about "), 0u) << lines[0];
    EXPECT_NE(lines[0].find("free some space"), std::string::npos) << lines[0];
  }
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

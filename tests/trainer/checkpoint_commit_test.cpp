// A save is there as a whole or not at all: killed at every call, refused at every call, and in the
// order that a power cut asks for.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "tests/trainer/checkpoint_fixtures.h"
#include "tests/trainer/forwarding_file_system.h"

namespace dagpam::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

// At its n-th call: dies, before it or (with a write) in the middle of it; or fails, once or from
// there on.
class FaultyFileSystem final : public ForwardingFileSystem {
 public:
  enum class Fault { kNone, kKill, kKillHalfway, kError, kErrorFromThereOn, kShortWrite };
  FaultyFileSystem(Fault fault, int at, int error = 0) : fault_(fault), at_(at), error_(error) {}

  int before(const std::string& operation, const std::string& path) override {
    const int call = calls_++;
    if (fault_ == Fault::kErrorFromThereOn && call > at_) return error_;
    if (call != at_) return 0;
    operation_ = operation;
    path_ = path;
    if (fault_ == Fault::kKill || (fault_ == Fault::kKillHalfway && operation != "write")) {
      ::kill(::getpid(), SIGKILL);
    }
    return fault_ == Fault::kError || fault_ == Fault::kErrorFromThereOn ? error_ : 0;
  }
  size_t write_at_most(size_t bytes) override {
    if (calls_ - 1 != at_) return bytes;
    if (fault_ == Fault::kShortWrite) return (bytes + 1) / 2;
    if (fault_ == Fault::kKillHalfway) dies_after_ = true;
    return dies_after_ ? bytes / 2 : bytes;
  }
  ssize_t write(int fd, std::span<const std::byte> bytes) override {
    const ssize_t n = ForwardingFileSystem::write(fd, bytes);
    if (dies_after_) ::kill(::getpid(), SIGKILL);
    return n;
  }

  int calls() const { return calls_; }
  const std::string& operation() const { return operation_; }  // that was struck
  const std::string& path() const { return path_; }

 private:
  const Fault fault_;
  const int at_, error_;
  int calls_ = 0;
  bool dies_after_ = false;
  std::string operation_, path_;
};

// What a training program does at a save: clean, save, prune.
void save_and_prune(FileSystem& file_system, const std::string& directory, int64_t step,
                    const std::string& lease) {
  remove_stale(file_system, directory, lease);
  Save{.fs = file_system, .directory = directory, .step = step, .lease = lease}.run();
  prune(file_system, directory, {.keep = 2}, lease);
}

std::vector<int64_t> valid_steps(const std::string& directory) {
  std::vector<int64_t> steps;
  for (const StepFolder& folder : list_checkpoints(posix_file_system(), directory)) {
    EXPECT_EQ(problem_of(folder.path), "");
    steps.push_back(folder.step);
  }
  return steps;
}

// Directory with steps 100 and 200; the save of 300 will remove 100.
void prepare(const std::string& directory) {
  save_and_prune(posix_file_system(), directory, 100, kLease);
  save_and_prune(posix_file_system(), directory, 200, kLease);
}

int count_calls() {
  const TemporaryFolder folder(/*in_memory=*/true);
  prepare(folder.path());
  FaultyFileSystem counter(FaultyFileSystem::Fault::kNone, -1);
  save_and_prune(counter, folder.path(), 300, kLease);
  EXPECT_EQ(valid_steps(folder.path()), (std::vector<int64_t>{200, 300}));
  return counter.calls();
}

TEST(CheckpointCommit, KilledAtEveryCallTheNewestCommittedOneLoads) {
  const int calls = count_calls();
  ASSERT_GT(calls, 40);
  std::set<std::vector<int64_t>> seen;
  for (const auto fault : {FaultyFileSystem::Fault::kKill, FaultyFileSystem::Fault::kKillHalfway}) {
    for (int at = 0; at < calls; ++at) {
      SCOPED_TRACE("killed at call " + std::to_string(at));
      const TemporaryFolder folder(/*in_memory=*/true);
      prepare(folder.path());
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        FaultyFileSystem faulty(fault, at);
        save_and_prune(faulty, folder.path(), 300, kLease);
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

      const std::vector<int64_t> steps = valid_steps(folder.path());
      ASSERT_GE(steps.size(), 2u);
      EXPECT_GE(steps.back(), 200);
      seen.insert(steps);
      // The next program cleans up and goes on.
      save_and_prune(posix_file_system(), folder.path(), 400, kOtherLease);
      EXPECT_EQ(valid_steps(folder.path()), (std::vector<int64_t>{steps.back(), 400}));
      for (const auto& entry : fs::directory_iterator(folder.path())) {
        EXPECT_TRUE(entry.path().filename().string().starts_with("step-")) << entry.path();
      }
    }
  }
  // Before the commit, between commit and retention, and after it.
  EXPECT_EQ(seen, (std::set<std::vector<int64_t>>{{100, 200}, {100, 200, 300}, {200, 300}}));
}

size_t open_descriptors() {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

TEST(CheckpointCommit, ErrorAtEveryCallIsReportedAndHarmless) {
  const int calls = count_calls();
  const std::set<std::string> must_report{
      "open_write", "open_read", "open_folder", "write",  "pread", "fsync", "fstat",
      "lstat",      "rename",    "mkdir",       "unlink", "rmdir", "list"};
  using Fault = FaultyFileSystem::Fault;
  for (const auto& [fault, error] : {std::pair(Fault::kError, EIO),
                                     {Fault::kError, ENOSPC},
                                     {Fault::kError, EDQUOT},
                                     {Fault::kErrorFromThereOn, EIO}}) {
    for (int at = 0; at < calls; ++at) {
      const TemporaryFolder folder(/*in_memory=*/true);
      prepare(folder.path());
      const size_t descriptors = open_descriptors();
      FaultyFileSystem faulty(fault, at, error);
      std::string message;
      try {
        save_and_prune(faulty, folder.path(), 300, kLease);
      } catch (const IoError& thrown) {
        EXPECT_EQ(thrown.code(), ExitCode::kIo);
        message = thrown.what();
      }
      SCOPED_TRACE(faulty.operation() + " " + faulty.path() + ": '" + message + "'");
      EXPECT_TRUE(must_report.count(faulty.operation()) == 0 || !message.empty());
      if (!message.empty()) {
        const bool at_that_call = fault == Fault::kError;  // else a later one may be what is told
        EXPECT_TRUE(!at_that_call || message.find(faulty.path()) != std::string::npos);
        EXPECT_NE(message.find(std::strerror(error)), std::string::npos);
      }
      EXPECT_EQ(open_descriptors(), descriptors);
      EXPECT_GE(valid_steps(folder.path()).back(), 200);
      save_and_prune(posix_file_system(), folder.path(), 400, kOtherLease);
      EXPECT_EQ(valid_steps(folder.path()).size(), 2u);
      EXPECT_EQ(list_folder(posix_file_system(), folder.path()).size(), 2u) << "something is left";
    }
  }
}

TEST(CheckpointCommit, ClosingAWrittenFileIsChecked) {
  int struck = 0;
  for (int at = 0; at < count_calls(); ++at) {
    const TemporaryFolder folder(/*in_memory=*/true);
    FaultyFileSystem faulty(FaultyFileSystem::Fault::kError, at, EIO);
    const Save save{.fs = faulty, .directory = folder.path()};
    bool reported = false;
    try {
      save.run();
    } catch (const IoError&) {
      reported = true;
    }
    const std::string parent = fs::path(faulty.path()).parent_path().filename().string();
    if (faulty.operation() != "close" || !parent.starts_with(".tmp-step-")) continue;
    ++struck;
    EXPECT_TRUE(reported) << faulty.path();
  }
  EXPECT_EQ(struck, 5);  // two shards, two copies, the manifest
}

TEST(CheckpointCommit, InterruptedAndShortCallsAreContinued) {
  const int calls = count_calls();
  for (const auto fault : {FaultyFileSystem::Fault::kError, FaultyFileSystem::Fault::kShortWrite}) {
    for (int at = 0; at < calls; ++at) {
      const TemporaryFolder folder(/*in_memory=*/true);
      prepare(folder.path());
      FaultyFileSystem faulty(fault, at, EINTR);
      EXPECT_NO_THROW(save_and_prune(faulty, folder.path(), 300, kLease)) << faulty.operation();
      EXPECT_EQ(valid_steps(folder.path()), (std::vector<int64_t>{200, 300}));
    }
  }
}

// What is not synced before the rename may be lost after it.
TEST(CheckpointCommit, EverythingIsSyncedBeforeTheRenameAndTheRenameAfter) {
  const TemporaryFolder folder(/*in_memory=*/true);
  const std::string directory = folder.path() + "/run/checkpoints";
  RecordingFileSystem recorder;
  const std::string target = Save{.fs = recorder, .directory = directory}.run();
  std::set<std::string> unsynced;  // files by content, folders by the names in them
  for (const auto& [operation, path] : recorder.done()) {
    const std::string parent = fs::path(path).parent_path().string();
    if (operation == "open_write" || operation == "write") unsynced.insert(path);
    if (operation == "open_write" || operation == "mkdir") unsynced.insert(parent);
    if (operation == "fsync") {
      EXPECT_EQ(unsynced.erase(path), 1u) << "needless: " << path;
    }
    if (operation == "rename") {
      EXPECT_EQ(path, target);
      // All but the temporary folder's own name, which the rename does away with.
      EXPECT_EQ(unsynced, std::set<std::string>{directory});
    }
  }
  EXPECT_TRUE(unsynced.empty()) << *unsynced.begin();
}

TEST(CheckpointCommit, ASecondSaveOfAStepNeverOverwrites) {
  const TemporaryFolder folder(/*in_memory=*/true);
  const std::string path = Save{.directory = folder.path()}.run();
  const std::string manifest = read_file(path + "/" + kManifestName);

  // The same state, saved by another number of ranks in another process: there already.
  EXPECT_EQ((Save{.directory = folder.path(), .ranks = 3, .lease = kOtherLease}.run()), path);
  EXPECT_EQ(read_file(path + "/" + kManifestName), manifest);

  // Other values: refused.
  std::vector<TestTensor> other = small_state();
  std::swap(other[0].shape[0], other[0].shape[1]);
  try {
    Save{.directory = folder.path(), .state = other, .lease = kOtherLease}.run();
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("holds other values"), std::string::npos);
  }
  EXPECT_EQ(read_file(path + "/" + kManifestName), manifest);

  // Damaged: set aside, not lost.
  write_file(path + "/" + kConfigName, "damage");
  EXPECT_EQ((Save{.directory = folder.path(), .lease = kOtherLease}.run()), path);
  EXPECT_EQ(problem_of(path), "");
  EXPECT_EQ(read_file(folder.path() + "/" + damaged_name(100, kOtherLease) + "/" + kConfigName),
            "damage");
}

TEST(CheckpointCommit, ALostLeaseStopsTheCommit) {
  const TemporaryFolder folder(/*in_memory=*/true);
  const Save save{.directory = folder.path(),
                  .before_rename = [] { throw CheckpointError("another start has taken over"); }};
  EXPECT_THROW(save.run(), CheckpointError);
  EXPECT_TRUE(list_checkpoints(posix_file_system(), folder.path()).empty());
  CheckpointWriter(posix_file_system(), {folder.path(), 100, kRunId, kLease}).discard();
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(CheckpointCommit, RecordsAndPiecesThatDoNotFitAreRefused) {
  const TemporaryFolder folder(/*in_memory=*/true);
  const Save save{.directory = folder.path()};
  CheckpointWriter writer(posix_file_system(), {folder.path(), 100, kRunId, kLease});
  const std::string first = save.write_shard(writer, 0);
  const std::string second = save.write_shard(writer, 1);
  const auto commit = [&](const std::vector<std::string>& records, int grid) {
    writer.commit(base_manifest(grid), records, copies());
  };
  EXPECT_THROW(commit({second, first}, 2), CheckpointError);
  EXPECT_THROW(commit({first}, 1), CheckpointError);
  EXPECT_THROW(commit({first, "junk"}, 2), CheckpointError);
  EXPECT_THROW(commit({first, second}, 3), CheckpointError);
  EXPECT_THROW(writer.commit(base_manifest(2), {first, second}, {copies()[0]}), CheckpointError);
  EXPECT_THROW(writer.commit({}, {first, second}, copies()), CheckpointError);
  const std::vector<float> three(3);
  const auto bytes = std::as_bytes(std::span(three));
  for (const TensorPiece& piece :
       std::vector<TensorPiece>{{"w", "F32", {4}, {{2}, {3}}, bytes},        // past the end
                                {"w", "F32", {4}, {{-1}, {3}}, bytes},       // before the start
                                {"w", "F32", {3}, {{0, 0}, {3, 1}}, bytes},  // no such dimension
                                {"w", "F32", {3}, {{}, {}}, bytes},          // too few dimensions
                                {"w", "F32", {4}, {{0}, {4}}, bytes},        // too few bytes
                                {"w", "F32", {4}, {{0}, {2}}, bytes},        // too many bytes
                                {"w", "F64", {3}, {{0}, {3}}, bytes},        // of another width
                                {"w", "FLOAT", {3}, {{0}, {3}}, bytes},      // no such type
                                {"a b", "F32", {3}, {{0}, {3}}, bytes}}) {   // no such name
    EXPECT_THROW(writer.write_shard(0, 1, {piece}), CheckpointError);
  }
  const TensorPiece piece{"w", "F32", {3}, {{0}, {3}}, bytes};
  EXPECT_THROW(writer.write_shard(0, 1, {piece, piece}), CheckpointError);
  EXPECT_THROW(CheckpointWriter(posix_file_system(), {"d", 1, "../x", kLease}), CheckpointError);
  EXPECT_THROW(CheckpointWriter(posix_file_system(), {"d", 1, kRunId, "x"}), CheckpointError);
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

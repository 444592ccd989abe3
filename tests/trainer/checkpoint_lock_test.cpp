// One program writes to a run folder, whatever the others do.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "tests/trainer/checkpoint_fixtures.h"
#include "trainer/checkpoint/run_lock.h"

namespace dagpam::checkpoint::testing {
namespace {

// The message of the error that taking the lock throws; "" where it is taken.
std::string refusal(const std::string& run_dir) {
  try {
    const RunLock lock(run_dir);
    return "";
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

// A child that takes the lock, says so through a pipe ('y' or 'n') and, having it, waits to be
// killed.
class Child {
 public:
  explicit Child(const std::string& run_dir) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    answer_ = ends[0];
    pid_ = ::fork();
    if (pid_ == 0) {
      try {
        const RunLock lock(run_dir, "job-1");
        static_cast<void>(::write(ends[1], "y", 1) == 1);
        ::pause();
      } catch (const CheckpointError&) {
        static_cast<void>(::write(ends[1], "n", 1) == 1);
      }
      ::_exit(0);
    }
    ::close(ends[1]);
  }
  ~Child() {
    kill();
    ::close(answer_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  char answer() const {
    char letter = '?';
    EXPECT_EQ(::read(answer_, &letter, 1), 1);
    return letter;
  }
  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int answer_ = -1;
};

TEST(CheckpointLock, SecondOneIsRefusedAtOnceAndNamesTheHolder) {
  const TemporaryFolder folder;
  const RunLock lock(folder.path(), "4711");
  const std::string message = refusal(folder.path());
  for (const std::string& part :
       {folder.path(), "pid " + std::to_string(::getpid()), std::string("host "),
        std::string("started 2"), std::string("job 4711")}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_EQ(message.find(lock.lease()), std::string::npos);
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_NO_THROW(lock.check());
}

TEST(CheckpointLock, ACleanEndReleasesAndEmpties) {
  const TemporaryFolder folder;
  std::string lease;
  {
    const RunLock lock(folder.path());
    lease = lock.lease();
    EXPECT_TRUE(is_digest(lease));
    EXPECT_NE(read_file(folder.path() + "/LOCK"), "");
  }
  EXPECT_EQ(read_file(folder.path() + "/LOCK"), "");
  RunLock again(folder.path());
  EXPECT_NE(again.lease(), lease);
  again.release();
  again.release();
  EXPECT_EQ(refusal(folder.path()), "");
}

TEST(CheckpointLock, TheKernelFreesItWhenTheHolderIsKilled) {
  const TemporaryFolder folder;
  for (int round = 0; round < 10; ++round) {
    Child child(folder.path());
    ASSERT_EQ(child.answer(), 'y');
    EXPECT_NE(refusal(folder.path()).find("pid " + std::to_string(child.pid())), std::string::npos);
    child.kill();
    EXPECT_NE(read_file(folder.path() + "/LOCK"), "");  // tells of the run that died
    EXPECT_EQ(refusal(folder.path()), "");
  }
}

TEST(CheckpointLock, OfManyStartedTogetherExactlyOneProceeds) {
  const TemporaryFolder folder;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 6; ++i) children.push_back(std::make_unique<Child>(folder.path()));
    int have_it = 0;
    for (const auto& child : children) have_it += child->answer() == 'y';
    EXPECT_EQ(have_it, 1);
  }
}

TEST(CheckpointLock, CheckFindsThatAnotherStartHasTakenOver) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/LOCK";
  RunLock lock(folder.path());
  const std::string text = read_file(path);
  write_file(path, "host other\npid 1\nlease " + std::string(32, '0') + "\n");
  EXPECT_THROW(lock.check(), CheckpointError);
  lock.release();
  EXPECT_NE(read_file(path), "");  // the other's text stays
  std::filesystem::remove(path);
  RunLock next(folder.path());
  std::filesystem::remove(path);
  EXPECT_THROW(next.check(), CheckpointError);
}

TEST(CheckpointLock, FoldersAndLinksThatCannotBeLocked) {
  const TemporaryFolder folder;
  EXPECT_THROW(RunLock(folder.path() + "/none"), IoError);
  std::filesystem::create_symlink("/nowhere", folder.path() + "/LOCK");
  EXPECT_THROW(RunLock lock(folder.path()), IoError);
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

// What a killed `data prepare` leaves is removed by the next one, what a living one writes is not.
#include "data/staged_files.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "configs/errors.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

// Another process that stages a file for `prefix`, says so, and waits until it is killed.
class OtherProcess {
 public:
  explicit OtherProcess(const std::string& prefix) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const StagedFiles staged(prefix);
      std::ofstream(staged.prefix() + ".train.bin") << "half";
      std::ofstream(staged.prefix() + ".train.bin.tmp-1-0") << "of it";
      const std::string name = staged.prefix();
      if (::write(pipe[1], name.data(), name.size()) < 0) ::_exit(1);
      while (true) ::pause();
    }
    ::close(pipe[1]);
    std::array<char, 4096> name{};
    const ssize_t size = ::read(pipe[0], name.data(), name.size());
    ::close(pipe[0]);
    EXPECT_GT(size, 0);
    staged_ = std::filesystem::path(std::string(name.data(), static_cast<size_t>(size))).filename();
  }
  ~OtherProcess() { kill(); }
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  std::set<std::string> files() const {
    return {staged_ + ".lock", staged_ + ".train.bin", staged_ + ".train.bin.tmp-1-0"};
  }

 private:
  pid_t pid_ = 0;
  std::string staged_;
};

TEST(StagedFilesTest, FoldersAreMadeAndEmptyOnesGoAgain) {
  const ScratchFolder folder;
  { const StagedFiles staged(folder / "a/b/set"); }
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  {
    StagedFiles staged(folder / "a/b/set");
    std::ofstream(staged.prefix() + ".json") << "{}";
    staged.publish();
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "a/b/set.json"));
  { const StagedFiles staged(folder / "a/c/set"); }
  EXPECT_TRUE(std::filesystem::exists(folder / "a/b"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a/c"));
}

TEST(StagedFilesTest, TheDeadAreRemovedTheLivingAreNot) {
  const ScratchFolder folder;
  OtherProcess living(folder / "set");
  OtherProcess dead(folder / "set");
  OtherProcess of_another_set(folder / "set2");
  dead.kill();
  of_another_set.kill();
  std::set<std::string> expected = living.files();
  expected.merge(of_another_set.files());
  EXPECT_EQ(folder.names().size(), 9u);
  {
    const StagedFiles ours(folder / "set");
    EXPECT_EQ(folder.names().size(), 7u);  // and our own lock
  }
  EXPECT_EQ(folder.names(), expected);
  living.kill();
  { const StagedFiles ours(folder / "set"); }
  EXPECT_EQ(folder.names(), of_another_set.files());
}

// Two in one process, or with one number in two containers.
TEST(StagedFilesTest, TwoNeverShareNames) {
  const ScratchFolder folder;
  const StagedFiles one(folder / "set"), other(folder / "set");
  EXPECT_NE(one.prefix(), other.prefix());
}

TEST(StagedFilesTest, NamesThatAreNotOursStay) {
  const ScratchFolder folder;
  const std::set<std::string> strange{"set.partial-7.train.bin", "set.partial-x", "set.train.bin"};
  for (const std::string& name : strange) write_bytes(folder / name, "x");
  std::filesystem::create_directory(folder / "set.partial-8-0.lock");
  std::filesystem::create_symlink("/dev/null", folder / "set.partial-9-0.lock");
  { const StagedFiles ours(folder / "set"); }
  EXPECT_EQ(folder.names().size(), 5u);
}

TEST(StagedFilesTest, FoldersThatCannotBeWrittenAreNamed) {
  expect_message(message_of<IoError>([] { const StagedFiles staged("/proc/self/set"); }),
                 {"/proc/self/set", "cannot be made"});
}

}  // namespace
}  // namespace dagpam::data

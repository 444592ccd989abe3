#include "parallel/flight_recorder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/data/scratch_folder.h"

namespace dagpam::parallel {
namespace {

struct Shared : FlightRecorder {
  Shared(const std::string& path, int rank, int ranks) : FlightRecorder(rank, ranks) {
    share(path);
  }
};

TEST(FlightRecorderTest, EveryRankReadsWhatTheOthersDidLast) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  Shared one(path, 0, 3), two(path, 1, 3);
  one.section("step", 7);
  two.section("a section with too long a name", 8);
  two.collective_begins("all_reduce Float [3]");
  two.collective_waits("waits for all_reduce Float [3]");
  two.collective_begins(std::string(200, 'x'));

  const std::vector<FlightEntry> seen = one.read();
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].section, "step");
  EXPECT_EQ(seen[0].step, 7);
  EXPECT_EQ(seen[0].calls, 0);
  EXPECT_EQ(seen[0].collective, "");
  EXPECT_EQ(seen[1].section, "a section with too long ");
  EXPECT_EQ(seen[1].step, 8);
  EXPECT_EQ(seen[1].calls, 2);
  EXPECT_EQ(seen[1].collective, std::string(96, 'x'));
  EXPECT_EQ(seen[1].process, ::getpid());
  EXPECT_EQ(seen[2].process, 0);
  EXPECT_NE(to_text(seen).find("rank 0: section step, step 7, call 0, "), std::string::npos);
  EXPECT_NE(to_text(seen).find("\nrank 2: no word on this node"), std::string::npos);
}

TEST(FlightRecorderTest, WhatWasWrittenBeforeItIsSharedIsKept) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  FlightRecorder early(0, 2);
  early.section("init", 1);
  early.collective_begins("barrier");
  EXPECT_EQ(early.read()[0].section, "init");
  const Shared other(path, 1, 2);
  EXPECT_EQ(other.read()[0].process, 0);
  early.share(path);
  EXPECT_EQ(other.read()[0].section, "init");
  EXPECT_EQ(other.read()[0].calls, 1);
  early.section("step", 2);
  EXPECT_EQ(other.read()[0].step, 2);
}

TEST(FlightRecorderTest, ANewStartForgetsTheRankAndKeepsTheOthers) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  Shared other(path, 1, 2);
  other.section("step", 3);
  { Shared(path, 0, 2).section("step", 9); }
  const Shared again(path, 0, 2);
  EXPECT_EQ(again.read()[0].step, 0);
  EXPECT_EQ(again.read()[1].step, 3);
}

// A process that was stopped, then killed in the middle of its work.
TEST(FlightRecorderTest, TellsWhatBecameOfAProcess) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  const pid_t child = ::fork();
  if (child == 0) {
    Shared mine(path, 1, 2);
    mine.section("checkpoint", 5);
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  const Shared recorder(path, 0, 2);
  EXPECT_NE(to_text(recorder.read()).find("(process " + std::to_string(child) + " is stopped)"),
            std::string::npos)
      << to_text(recorder.read());
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_NE(to_text(recorder.read()).find("rank 1: section checkpoint, step 5"), std::string::npos);
  EXPECT_NE(to_text(recorder.read()).find("is gone)"), std::string::npos);
}

// Step and number of calls are written together, so no reader may see them apart.
TEST(FlightRecorderTest, NoReaderSeesHalfAnEntry) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  Shared writer(path, 0, 2);
  const Shared reader(path, 1, 2);
  std::atomic<bool> over{false};
  const std::jthread work([&] {
    for (int i = 0; i < 3'000'000; ++i) writer.section(i % 2 == 0 ? "even" : "odd", i);
    over = true;
  });
  while (!over) {
    const FlightEntry entry = reader.read()[0];
    if (!entry.section.empty()) {
      ASSERT_EQ(entry.section, entry.step % 2 == 0 ? "even" : "odd");
    }
  }
}

TEST(FlightRecorderTest, WhatIsInTheFileIsPrintableWhateverItIs) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  std::ofstream(path) << std::string(4096, '\x1b');
  const Shared recorder(path, 0, 2);
  for (const char c : to_text(recorder.read())) EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~'));
}

TEST(FlightRecorderTest, APathThatCannotBeIsNamed) {
  try {
    Shared("/proc/no/flight", 0, 2);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find("/proc/no/flight: cannot be opened"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace dagpam::parallel

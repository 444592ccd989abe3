#include "parallel/watchdog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>

#include "parallel/thread_stacks.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::parallel {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(WatchdogTest, NamesTheSectionThatTookTooLong) {
  std::promise<Watchdog::Expired> told;
  Watchdog watchdog({[&](const auto& expired) { told.set_value(expired); }, milliseconds(1)});
  watchdog.enter("init", 0, hours(1));
  watchdog.enter("step", 7, milliseconds(20));
  const Watchdog::Expired expired = told.get_future().get();
  EXPECT_EQ(expired.section, "step");
  EXPECT_EQ(expired.step, 7);
  EXPECT_EQ(expired.limit, milliseconds(20));
}

TEST(WatchdogTest, IsSilentWithoutASectionOrALimitAndWhileSectionsChange) {
  std::atomic<int> expiries{0};
  {
    Watchdog watchdog({[&](const auto&) { ++expiries; }, milliseconds(1)});
    std::this_thread::sleep_for(milliseconds(20));
    watchdog.enter("evaluation", 1, milliseconds(0));
    std::this_thread::sleep_for(milliseconds(20));
    // An hour for each of a thousand steps.
    for (int step = 0; step < 1000; ++step) watchdog.enter("step", step, hours(1));
  }
  EXPECT_EQ(expiries, 0);
}

// Together far longer than the limit of one.
TEST(WatchdogTest, EverySectionHasItsOwnTime) {
  std::atomic<int> expiries{0};
  {
    Watchdog watchdog({[&](const auto&) { ++expiries; }, milliseconds(1)});
    for (int step = 0; step < 600; ++step) {
      watchdog.enter("step", step, milliseconds(400));
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  EXPECT_EQ(expiries, 0);
}

// A thread that waits for ever is in the report beside the one that writes it.
TEST(ThreadStacksTest, EveryThreadIsShown) {
  prepare_thread_stacks();
  std::mutex mutex;
  std::condition_variable release;
  bool ready = false, over = false;
  std::thread waiting([&] {
    std::unique_lock lock(mutex);
    ready = true;
    release.notify_all();
    release.wait(lock, [&] { return over; });
  });
  {
    std::unique_lock lock(mutex);
    release.wait(lock, [&] { return ready; });
  }
  const data::ScratchFolder folder;
  const std::string path = folder / "stacks";
  // Two, and what a sanitizer has of its own.
  const auto tasks = std::filesystem::directory_iterator("/proc/self/task");
  const auto expected = std::distance(begin(tasks), end(tasks));
  EXPECT_GE(expected, 2);
  FILE* file = std::fopen(path.c_str(), "w");
  write_thread_stacks(::fileno(file));
  std::fclose(file);
  {
    const std::lock_guard lock(mutex);
    over = true;
  }
  release.notify_all();
  waiting.join();

  std::ifstream in(path);
  std::string line;
  int threads = 0, frames = 0, with_frames = 0;
  while (std::getline(in, line)) {
    if (line.starts_with("thread ")) {
      ++threads;
      frames = 0;
    } else if (line.find("[0x") != std::string::npos && ++frames == 3) {
      ++with_frames;
    }
  }
  EXPECT_EQ(threads, expected);
  EXPECT_GE(with_frames, 2);
}

}  // namespace
}  // namespace dagpam::parallel

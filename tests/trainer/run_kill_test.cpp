// A run that is killed (SIGKILL) at every named point of a save, and at random times: it goes on
// from the newest checkpoint that was committed, and ends with the same weights and metrics, bit by
// bit, as one that nobody disturbed. Each start is a child process with two ranks as threads.
//
// By hand, for longer: DAGPAM_KILL_CYCLES=1000 DAGPAM_KILL_SEED=7 trainer_run_kill_test
// (tests/launch/kill_test.py does the same with processes under mpirun.)
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/trainer/child_runs.h"
#include "tests/trainer/killing_file_system.h"

namespace dagpam::checkpoint {
namespace {

std::string kill_order;  // of this process; "": none

}  // namespace

FileSystem& real_file_system() __asm__("__real__ZN6dagpam10checkpoint17posix_file_systemEv");
FileSystem& wrapped_file_system() __asm__("__wrap__ZN6dagpam10checkpoint17posix_file_systemEv");

FileSystem& wrapped_file_system() {
  if (kill_order.empty()) return real_file_system();
  static testing::KillingFileSystem killing(real_file_system(), kill_order);
  return killing;
}

}  // namespace dagpam::checkpoint

namespace dagpam::trainer {
namespace {

namespace fs = std::filesystem;

int64_t number_from(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoll(text) : otherwise;
}

class RunKillTest : public testing::ChildRuns {
 protected:
  // Kills itself there.
  static int start(const TrainRequest& request, const std::string& order) {
    return run(request, {.first = [order] { checkpoint::kill_order = order; }});
  }
};

// A call of the second save of a start, in the order in which they come. Each save makes two
// copies, and syncs the folder of all for itself and for each that retention removes.
struct Point {
  const char* call;
  int nth;
  bool committed;  // the second save counts
};
constexpr Point kPoints[] = {{"mkdir temporary", 1, false},     {"open_write shard0", 1, false},
                             {"write shard0", 1, false},        {"fsync shard0", 1, false},
                             {"close shard0", 1, false},        {"open_write shard1", 1, false},
                             {"write shard1", 1, false},        {"fsync shard1", 1, false},
                             {"close shard1", 1, false},        {"open_write copy", 1, false},
                             {"write copy", 2, false},          {"fsync copy", 2, false},
                             {"open_write manifest", 1, false}, {"write manifest", 1, false},
                             {"fsync manifest", 1, false},      {"close manifest", 1, false},
                             {"fsync temporary", 1, false},     {"rename step", 1, true},
                             {"fsync checkpoints", 1, true},    {"rename trash", 1, true},
                             {"fsync checkpoints", 2, true},    {"unlink trash", 1, true},
                             {"unlink trash", 3, true},         {"rmdir trash", 1, true}};

TEST_F(RunKillTest, AtEveryPointOfASave) {
  const int64_t rounds = number_from("DAGPAM_KILL_ROUNDS", 1);
  const std::vector<std::string> settings{"train.steps=110", "checkpoint.every=1", "log.every=3"};
  const TrainRequest undisturbed = request("whole", settings);
  ASSERT_EQ(start(undisturbed, ""), 0);
  for (int64_t round = 0; round < rounds; ++round) {
    TrainRequest killed = request("points" + std::to_string(round), settings);
    killed.stop_after = 3;
    ASSERT_EQ(start(killed, ""), 0);
    killed.stop_after = 0;
    for (const Point& point : kPoints) {
      const std::string call = point.call;
      for (const std::string when : {"before", "during", "after"}) {
        if (when == "during" && !call.starts_with("write")) continue;
        SCOPED_TRACE(when + " " + call);
        const int64_t old = newest(killed.run_dir);
        const int status = start(killed, when + " " + call + " " + std::to_string(point.nth));
        ASSERT_TRUE(was_killed(status)) << "the point was not reached";
        const bool counts = point.committed && !(when == "before" && call == "rename step");
        ASSERT_EQ(newest(killed.run_dir), old + (counts ? 2 : 1));
      }
    }
    ASSERT_EQ(start(killed, ""), 0);
    expect_same_end(undisturbed.run_dir, killed.run_dir);
  }
}

TEST_F(RunKillTest, AtRandomTimes) {
  const int64_t cycles = number_from("DAGPAM_KILL_CYCLES", 20);
  const auto seed = static_cast<uint64_t>(number_from("DAGPAM_KILL_SEED", 1));
  constexpr int64_t kEvery = 5;
  const std::vector<std::string> settings{"train.steps=300", "checkpoint.every=5", "log.every=1",
                                          "train.eval_every=50"};
  const TrainRequest undisturbed = request("calm", settings);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(start(undisturbed, ""), 0);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  std::mt19937_64 random(seed);
  // A run is killed about ten times.
  std::exponential_distribution<double> delay(10 / whole.count());
  int64_t kills = 0, lost = 0, runs = 0;
  while (kills < cycles) {
    const TrainRequest killed = request("random" + std::to_string(runs++), settings);
    while (was_killed(run(killed, {.kill_after = std::max(1e-3, delay(random))}))) {
      ++kills;
      // Kills come so fast here that starts in a row may get nowhere.
      fs::remove(killed.run_dir + "/starts.jsonl");
      const int64_t saved = newest(killed.run_dir);
      std::istringstream text(data::read_bytes(killed.run_dir + "/metrics.jsonl"));
      int64_t reached = saved;
      for (std::string line; std::getline(text, line);) {
        const auto object = nlohmann::json::parse(line, nullptr, false);
        if (object.is_object()) reached = object["step"];
      }
      lost = std::max(lost, reached - saved);
      if (kills >= cycles) break;
    }
    ASSERT_EQ(start(killed, ""), 0);
    expect_same_end(undisturbed.run_dir, killed.run_dir);
    ASSERT_FALSE(HasFailure()) << "kills: " << kills << ", seed " << seed;
    fs::remove_all(killed.run_dir);
  }
  std::printf("%lld kills in %lld runs, at most %lld steps of work lost, saves every %lld\n",
              static_cast<long long>(kills), static_cast<long long>(runs),
              static_cast<long long>(lost), static_cast<long long>(kEvery));
  // One interval, and the steps that go on while a save is written.
  EXPECT_LE(lost, 2 * kEvery);
}

}  // namespace
}  // namespace dagpam::trainer

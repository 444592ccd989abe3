// A run that stops anywhere and is resumed gives the bits of one that never stopped: weights,
// optimizer state, and every line of metrics. Ranks as threads, each start in a process of its own.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/trainer/child_runs.h"

namespace dagpam::trainer {
namespace {

struct Variant {
  const char* name;
  std::vector<std::string> overrides;
};

// An epoch of the data is 187 samples; with 4 a step, step 46 begins in one and ends in the next.
const std::vector<Variant> kVariants{
    {"plain", {}},
    {"accumulation", {"train.global_batch=8"}},
    {"attention_dropout", {"model.attention_dropout=0.2"}},
    {"sgd", {"optimizer.kind=SGD", "optimizer.momentum=0.9", "optimizer.lr=0.1"}},
    {"zero", {"parallel.zero=1"}},
    {"skipping",
     {"train.bad_step.policy=SKIP", "train.bad_step.spike_z=1.2", "train.bad_step.window=8",
      "train.bad_step.budget=1000"}},
    {"rolling_back",
     {"train.bad_step.policy=ROLLBACK", "train.bad_step.spike_z=3.3", "train.bad_step.window=32",
      "train.bad_step.budget=1000", "checkpoint.every=2"}},
};

class RunResumeTest : public testing::ChildRuns {
 protected:
  static TrainRequest request_of(const std::string& name, const Variant& variant) {
    std::vector<std::string> all{"train.steps=60", "log.every=4", "checkpoint.every=13"};
    all.insert(all.end(), variant.overrides.begin(), variant.overrides.end());
    return request(std::string(variant.name) + "_" + name, all);
  }
};

TEST_F(RunResumeTest, BitEqualWhereverItStops) {
  for (const Variant& variant : kVariants) {
    const bool plain = std::string(variant.name) == "plain";
    for (const int ranks : plain ? std::vector<int>{1, 2, 4} : std::vector<int>{2}) {
      const std::string tag = std::to_string(ranks);
      const TrainRequest whole = request_of("whole" + tag, variant);
      ASSERT_EQ(run(whole, {.ranks = ranks}), 0);
      // Before the first step; in and after the warm-up of 3 steps; an evaluated step and one
      // further; in an interval of metrics; the edge of an epoch; the last step; and twice there.
      TrainRequest stopped = request_of("stopped" + tag, variant);
      stopped.max_minutes = 1e-9;
      ASSERT_EQ(run(stopped, {.ranks = ranks}), 0);
      EXPECT_EQ(newest(stopped.run_dir), 0);
      stopped.max_minutes = 0;
      for (const int64_t step : {1, 3, 4, 7, 8, 30, 46, 47, 60, 60}) {
        SCOPED_TRACE(std::string(variant.name) + ", ranks " + tag + ", stop " +
                     std::to_string(step));
        stopped.stop_after = step;
        ASSERT_EQ(run(stopped, {.ranks = ranks}), 0);
        ASSERT_EQ(newest(stopped.run_dir), step);
      }
      expect_same_end(whole.run_dir, stopped.run_dir);
    }
  }
}

// Variants must do what their names say.
TEST_F(RunResumeTest, TheVariantsSkipAndRollBack) {
  const TrainRequest skipping = request_of("check", kVariants[5]);
  ASSERT_EQ(run(skipping), 0);
  const std::string last = testing::history(skipping.run_dir).back();
  EXPECT_EQ(last.find("\"skipped\":0"), std::string::npos) << last;
  const TrainRequest rolling = request_of("check", kVariants[6]);
  ASSERT_EQ(run(rolling, {.ranks = 1}), 0);  // ranks that are threads share one log
  const std::string words = data::read_bytes(rolling.run_dir + ".words");
  EXPECT_NE(words.find("going back from step"), std::string::npos) << words;
}

}  // namespace
}  // namespace dagpam::trainer

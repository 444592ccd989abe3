// Starts that get nowhere are counted, and only those.
#include "trainer/start_record.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "configs/errors.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::trainer {
namespace {

class StartRecordTest : public testing::Test {
 protected:
  void start(int64_t from, int64_t reached) { StartRecord(folder_.path(), from, reached); }
  data::ScratchFolder folder_;
};

TEST_F(StartRecordTest, TheFourthStartInVainIsRefused) {
  for (int i = 0; i < 3; ++i) start(50, 57);
  try {
    start(50, 57);
    FAIL();
  } catch (const CheckpointError& error) {
    const std::string text = error.what();
    for (const char* part :
         {"starts.jsonl", "3 starts", "step 50", "step 57", "remove this file"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
}

TEST_F(StartRecordTest, ANewCheckpointOrANewStepCountsAsProgress) {
  for (int i = 0; i < 10; ++i) start(i, 100);
  for (int i = 0; i < 10; ++i) start(50, 100 + i);
}

TEST_F(StartRecordTest, WhatAnEarlierStartHadReachedStays) {
  start(0, 0);
  start(0, 40);
  start(0, 20);
  start(0, 30);
  EXPECT_THROW(start(0, 35), CheckpointError);
}

TEST_F(StartRecordTest, ACleanEndForgetsThem) {
  for (int i = 0; i < 3; ++i) start(7, 7);
  std::filesystem::remove(folder_ / "starts.jsonl");
  StartRecord record(folder_.path(), 7, 7);
  record.ended_cleanly();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "starts.jsonl"));
}

TEST_F(StartRecordTest, LinesThatACrashCutShortAreNoStarts) {
  for (int i = 0; i < 3; ++i) start(50, 57);
  std::filesystem::resize_file(folder_ / "starts.jsonl",
                               std::filesystem::file_size(folder_ / "starts.jsonl") - 5);
  start(50, 57);
}

TEST_F(StartRecordTest, TheHighestStepOfTheMetrics) {
  EXPECT_EQ(reached_step(folder_ / "metrics.jsonl"), 0);
  data::write_bytes(
      folder_ / "metrics.jsonl",
      "{\"step\": 3}\n{\"step\": 12, \"split\": \"valid\"}\n{\"step\": 9}\n{\"step\": 9");
  EXPECT_EQ(reached_step(folder_ / "metrics.jsonl"), 12);
}

}  // namespace
}  // namespace dagpam::trainer

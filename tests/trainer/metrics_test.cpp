#include "trainer/telemetry/metrics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "configs/errors.h"
#include "trainer/telemetry/background_writer.h"
#include "trainer/telemetry/console.h"

namespace dagpam::trainer {
namespace {

class MetricsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("dagpam_metrics_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "metrics.jsonl").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string text() const {
    std::ifstream in(path_);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }

  std::filesystem::path folder_;
  std::string path_;
};

StepMetrics at_step(int64_t step) {
  StepMetrics m;
  m.step = step;
  m.tokens = 100 * step;
  m.loss = 1.5;
  return m;
}

TEST_F(MetricsTest, LinesComeInOrderAndParse) {
  {
    MetricsWriter writer(path_);
    for (int64_t step = 1; step <= 1000; ++step) writer.add(at_step(step));
    writer.add(EvaluationMetrics{1000, "valid", 2.0, std::exp(2.0)});
  }
  std::istringstream lines(text());
  std::string line;
  for (int64_t step = 1; step <= 1000; ++step) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(nlohmann::json::parse(line)["step"], step);
  }
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["split"], "valid");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(MetricsTest, WhatJsonCannotHoldIsNull) {
  StepMetrics m = at_step(1);
  m.loss = std::nan("");
  {
    MetricsWriter writer(path_);
    writer.add(m);
  }
  const auto line = nlohmann::json::parse(text());
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["mfu"].is_null());
}

TEST_F(MetricsTest, TruncationDropsLaterAndBrokenLines) {
  {
    MetricsWriter writer(path_);
    for (int64_t step = 1; step <= 5; ++step) writer.add(at_step(step));
  }
  std::ofstream(path_, std::ios::app) << R"({"step": 3, "lo)";
  truncate_metrics(path_, 3);
  std::istringstream lines(text());
  std::string line, last;
  int count = 0;
  while (std::getline(lines, line)) {
    ++count;
    last = line;
  }
  EXPECT_EQ(count, 3);
  EXPECT_EQ(nlohmann::json::parse(last)["step"], 3);
}

TEST_F(MetricsTest, TruncatingNothingIsFine) { EXPECT_NO_THROW(truncate_metrics(path_, 0)); }

TEST_F(MetricsTest, AFullDiskIsToldOnFlush) {
  MetricsWriter writer("/dev/full");
  writer.add(at_step(1));
  EXPECT_THROW(writer.flush(), IoError);
}

TEST_F(MetricsTest, ABadPlaceForEventsIsTold) {
  std::ofstream(folder_ / "file") << "";
  EXPECT_THROW(MetricsWriter(path_, EventFolder{(folder_ / "file").string(), 0, ""}), IoError);
}

TEST_F(MetricsTest, EventsGoToANewFileWithEachStart) {
  const auto events = folder_ / "events";
  for (int start = 0; start < 3; ++start) {
    MetricsWriter writer(path_, EventFolder{events.string(), start, "name: \"x\""});
    writer.add(at_step(start + 1));
    writer.flush();
  }
  const std::filesystem::directory_iterator files(events);
  EXPECT_EQ(std::distance(begin(files), end(files)), 3);
}

TEST_F(MetricsTest, OneFileThatFailsIsNamed) {
  BackgroundWriter writer({path_, "/dev/full"});
  writer.add(0, "a");
  writer.add(1, "b");
  try {
    writer.flush();
    FAIL();
  } catch (const IoError& error) {
    EXPECT_EQ(std::string(error.what()).rfind("/dev/full: cannot write: ", 0), 0U) << error.what();
  }
  EXPECT_EQ(text(), "a");
}

TEST(ConsoleTest, NumbersAsPeopleReadThem) {
  EXPECT_EQ(format_count(812), "812");
  EXPECT_EQ(format_count(4350), "4.35k");
  EXPECT_EQ(format_count(12.1e6), "12.1M");
  EXPECT_EQ(format_duration(12.4), "12 s");
  EXPECT_EQ(format_duration(185), "3:05");
  EXPECT_EQ(format_duration(3725), "1:02:05");
  EXPECT_EQ(format_duration(std::nan("")), "?");
}

}  // namespace
}  // namespace dagpam::trainer

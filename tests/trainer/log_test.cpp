// The log and the metrics file take lines from several threads and from a thread of their own;
// under ThreadSanitizer (preset tsan) this is where races would show.
#include "trainer/telemetry/log.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "trainer/telemetry/metrics.h"

namespace dagpam::trainer {
namespace {

constexpr int kThreads = 4, kLines = 300;

TEST(LogTest, ThreadsWriteWholeLinesInTheirOrder) {
  std::string folder = (std::filesystem::temp_directory_path() / "log_XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/rank_00001.log";
  open_log(/*rank=*/1, /*size=*/2, path);  // not rank 0: the console stays quiet
  {
    MetricsWriter metrics(folder + "/metrics.jsonl");
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < kLines; ++i) {
          log_info("thread " + std::to_string(t) + " line " + std::to_string(i) + " end");
        }
      });
    }
    for (int i = 0; i < kLines; ++i) {
      StepMetrics step;
      step.step = i + 1;
      metrics.add(step);
      if (i % 50 == 0) metrics.flush();
    }
    for (std::thread& thread : threads) thread.join();
  }
  flush_log();
  std::ifstream log(path);
  std::map<int, int> next;
  for (std::string line; std::getline(log, line);) {
    const size_t at = line.find("thread ");
    ASSERT_NE(at, std::string::npos) << line;
    int thread = 0, number = 0;
    ASSERT_EQ(std::sscanf(line.c_str() + at, "thread %d line %d end", &thread, &number), 2) << line;
    EXPECT_TRUE(line.ends_with(" end")) << line;
    EXPECT_EQ(next[thread]++, number);
  }
  for (int t = 0; t < kThreads; ++t) EXPECT_EQ(next[t], kLines);
  std::ifstream file(folder + "/metrics.jsonl");
  int steps = 0;
  for (std::string line; std::getline(file, line);) ++steps;
  EXPECT_EQ(steps, kLines);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace dagpam::trainer

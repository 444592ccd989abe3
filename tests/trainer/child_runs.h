// tests/trainer/child_runs.h: runs of the trainer as child processes, each with its ranks as
// threads: a start costs hundredths of a second, and may be killed.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "configs/run_config.h"
#include "data/prepare.h"
#include "tests/data/scratch_folder.h"
#include "tests/trainer/checkpoint_fixtures.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/trainer.h"

namespace dagpam::trainer::testing {

using checkpoint::testing::TemporaryFolder;

// Lines of metrics.jsonl without times and memory.
inline std::vector<std::string> history(const std::string& run_dir) {
  std::vector<std::string> lines;
  std::istringstream text(data::read_bytes(run_dir + "/metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    auto object = nlohmann::ordered_json::parse(line);
    for (const char* key : {"tokens_per_s", "step_ms", "mfu", "memory_gib"}) object.erase(key);
    lines.push_back(object.dump());
  }
  return lines;
}

struct ChildStart {
  int ranks = 2;
  std::function<void()> first = {};  // what the child does before all else
  double kill_after = 0;             // seconds; 0: never
};

class ChildRuns : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // A kill loses no page of the cache, so the disk has no say in this.
    folder_ = std::make_unique<TemporaryFolder>(/*in_memory=*/true);
    std::string text;
    for (int i = 0; i < 3000; ++i) text += static_cast<char>('a' + (i * i / 7 + i % 5) % 23);
    data::write_bytes(in_folder("train.txt"), text);
    data::write_bytes(in_folder("valid.txt"), text.substr(0, 200));
    data::PrepareOptions options;
    options.train = {in_folder("train.txt")};
    options.valid = {in_folder("valid.txt")};
    options.tokenizer = "char";
    options.out = in_folder("text");
    options.progress = nullptr;
    data::prepare(options);
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string in_folder(const std::string& name) { return folder_->path() + "/" + name; }

  static TrainRequest request(const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> all{"model.layers=1",
                                 "model.width=16",
                                 "model.heads=2",
                                 "model.context=16",
                                 "model.dropout=0.1",
                                 "attention.kind=DAGPAM",
                                 "train.global_batch=4",
                                 "train.micro_batch=1",
                                 "train.eval_every=7",
                                 "schedule.warmup_steps=3",
                                 "checkpoint.keep=2",
                                 "data.train.0.prefix=" + in_folder("text"),
                                 "data.valid=" + in_folder("text")};
    all.insert(all.end(), more.begin(), more.end());
    TrainRequest request;
    request.config = configs::load({}, all);
    request.run_dir = in_folder(name);
    request.resume = "auto";
    return request;
  }

  // A start of the program. Returns its status as waitpid gives it: done, killed, or the test
  // fails.
  static int run(const TrainRequest& request, const ChildStart& options = {}) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (freopen((request.run_dir + ".words").c_str(), "a", stderr) == nullptr) ::_exit(99);
      if (options.first) options.first();
      try {
        parallel::run_ranks_as_threads(
            options.ranks, [&](parallel::Communicator& world) { train(request, world); });
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        ::_exit(98);
      }
      ::_exit(0);
    }
    int status = 0;
    if (options.kill_after > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(options.kill_after));
      ::kill(child, SIGKILL);
    }
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(was_killed(status) || status == 0) << data::read_bytes(request.run_dir + ".words");
    return status;
  }
  static bool was_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

  static int64_t newest(const std::string& run_dir) {
    const auto all =
        checkpoint::list_checkpoints(checkpoint::posix_file_system(), run_dir + "/checkpoints");
    return all.empty() ? 0 : all.back().step;
  }

  static void expect_same_end(const std::string& a, const std::string& b) {
    EXPECT_EQ(history(a), history(b));
    auto& files = checkpoint::posix_file_system();
    const auto one = checkpoint::open_checkpoint(files, checkpoint::find_checkpoint(files, a));
    const auto two = checkpoint::open_checkpoint(files, checkpoint::find_checkpoint(files, b));
    EXPECT_EQ(one->manifest().step(), two->manifest().step());
    EXPECT_TRUE(checkpoint::compare(*one, *two).equal());
    for (const auto& entry : std::filesystem::directory_iterator(b + "/checkpoints")) {
      EXPECT_TRUE(checkpoint::step_of(entry.path().string())) << "left over: " << entry.path();
    }
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
};

}  // namespace dagpam::trainer::testing

// Saves in the background: what they hold, their order, what stops them. Ranks as threads.
#include "trainer/run_saver.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/prepare.h"
#include "data/sidecar.h"
#include "tests/data/scratch_folder.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/memory_plan.h"
#include "trainer/run_plan.h"

namespace dagpam::trainer {
namespace {

namespace fs = std::filesystem;

// Holds the commits back until it is opened.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_for_someone() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class RunSaverTest : public testing::Test {
 protected:
  RunSaverTest() {
    data::write_bytes(folder_ / "train.txt", "the quick brown fox jumps over the lazy dog\n");
    data::PrepareOptions options;
    options.train = {folder_ / "train.txt"};
    options.tokenizer = "char";
    options.out = folder_ / "text";
    options.progress = nullptr;
    data::prepare(options);
    tokenizer_json_ = data::find_sidecar(folder_ / "text")->tokenizer_json;
    config_ = configs::with_defaults(configs::load(
        {},
        {"model.layers=1", "model.width=16", "model.heads=2", "model.context=8", "model.vocab=28",
         "train.global_batch=4", "train.micro_batch=1", "train.steps=9", "schedule.decay_steps=9",
         "checkpoint.keep=0", "data.train.0.prefix=" + (folder_ / "text")}));
  }

  // Runs fn on each of two ranks with a saver of its own.
  using Body = std::function<void(RunSaver&, TrainingStep&, Agreement&, parallel::Communicator&)>;
  void run(const Body& body, const std::function<void()>& before_commit = {}) {
    parallel::run_ranks_as_threads(2, [&](parallel::Communicator& world) {
      const parallel::Grid grid = parallel::make_grid(world, 1);
      TrainingStep step(config_, grid);
      Agreement agreement(world);
      RunSaver saver({checkpoints(), std::string(32, 'a'), before_commit, config_, tokenizer_json_},
                     step, grid, world);
      body(saver, step, agreement, world);
      agreement.settle();
    });
  }

  static Progress at_step(int64_t step) {
    Progress progress;
    progress.run_id = "run";
    progress.step = step;
    return progress;
  }
  static void fill(TrainingStep& step, float value) {
    const at::NoGradGuard no_grad;
    for (const auto& parameter : step.model().parameters().all()) parameter->value.fill_(value);
  }
  static bool poll(RunSaver& saver, Agreement& agreement, int64_t step) {
    saver.bring(agreement);
    agreement.exchange();
    saver.advance(agreement);
    return saver.committed_step() == step;
  }

  // Every element of every parameter of a checkpoint is `value`.
  void expect_values(int64_t step, float value) const {
    const auto saved = checkpoint::open_checkpoint(checkpoint::posix_file_system(), path(step));
    int parameters = 0;
    for (const auto& tensor : saved->manifest().tensors()) {
      if (tensor.name().starts_with("optimizer.")) continue;
      ++parameters;
      size_t count = 1;
      for (const int64_t extent : tensor.shape()) count *= static_cast<size_t>(extent);
      std::vector<float> values(count);
      saved->read_tensor(tensor.name(), checkpoint::TensorRange{},
                         std::as_writable_bytes(std::span(values)));
      for (const float x : values) ASSERT_EQ(x, value) << tensor.name();
    }
    EXPECT_GT(parameters, 5);
  }
  bool exists(int64_t step) const { return fs::exists(path(step)); }
  std::string checkpoints() const { return folder_ / "checkpoints"; }
  std::string path(int64_t step) const { return checkpoints() + "/" + checkpoint::step_name(step); }

  data::ScratchFolder folder_;
  std::string tokenizer_json_;
  configs::RunConfig config_;
};

TEST_F(RunSaverTest, WhatChangesAfterTheSnapshotIsNotSaved) {
  run([&](RunSaver& saver, TrainingStep& step, Agreement&, parallel::Communicator&) {
    fill(step, 2);
    saver.begin(at_step(1));
    fill(step, 3);
    saver.finish();
  });
  expect_values(1, 2);
}

TEST_F(RunSaverTest, RanksPollingAtStepEndsCommit) {
  run([&](RunSaver& saver, TrainingStep& step, Agreement& agreement, parallel::Communicator&) {
    for (int64_t at : {1, 2, 5}) {
      fill(step, static_cast<float>(at));
      saver.begin(at_step(at));
      fill(step, -1);
      while (!poll(saver, agreement, at)) std::this_thread::yield();
    }
  });
  for (int64_t at : {1, 2, 5}) expect_values(at, static_cast<float>(at));
}

// While the first commit is held back, the step goes on; a second save waits, and comes after.
TEST_F(RunSaverTest, ASaveWaitsForTheOneBefore) {
  Gate gate;
  std::atomic<int> commits = 0;
  std::thread opener;
  run(
      [&](RunSaver& saver, TrainingStep& step, Agreement& agreement,
          parallel::Communicator& world) {
        fill(step, 1);
        saver.begin(at_step(1));
        for (int i = 0; i < 20; ++i) EXPECT_FALSE(poll(saver, agreement, 1));
        if (world.rank() == 0) {
          opener = std::thread([&] {
            gate.wait_for_someone();
            EXPECT_FALSE(exists(1));
            gate.open();
          });
        }
        fill(step, 2);
        saver.begin(at_step(2));
        EXPECT_EQ(saver.committed_step(), 1);
        EXPECT_TRUE(exists(1));
        // Votes for the first save are still under way: they must not count for the second.
        for (int i = 0; i < 3; ++i) poll(saver, agreement, 2);
        saver.finish();
        EXPECT_EQ(saver.committed_step(), 2);
      },
      [&] {
        ++commits;
        gate.pass();
      });
  opener.join();
  EXPECT_EQ(commits, 2);
  expect_values(1, 1);
  expect_values(2, 2);
}

TEST_F(RunSaverTest, NothingThatIsNotFiniteIsSaved) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    EXPECT_THROW(run([&](RunSaver& saver, TrainingStep& step, Agreement&, parallel::Communicator&) {
                   const at::NoGradGuard no_grad;
                   step.model().parameters().all().back()->value.view({-1})[3].fill_(bad);
                   saver.begin(at_step(1));
                   saver.finish();
                 }),
                 NonFiniteError);
    EXPECT_FALSE(exists(1));
  }
}

TEST_F(RunSaverTest, ACommitThatIsRefusedIsTold) {
  EXPECT_THROW(run(
                   [&](RunSaver& saver, TrainingStep&, Agreement&, parallel::Communicator&) {
                     saver.begin(at_step(1));
                     saver.finish();
                   },
                   [] { throw CheckpointError("another start has taken over"); }),
               CheckpointError);
  EXPECT_FALSE(exists(1));
}

TEST_F(RunSaverTest, RanksShareOutWhatTheyHoldAlike) {
  std::atomic<size_t> bytes = 0;
  run([&](RunSaver&, TrainingStep& step, Agreement&, parallel::Communicator& world) {
    const parallel::Grid grid = parallel::make_grid(world, 1);
    Snapshot snapshot;
    snapshot.take(state_of(step, false), grid, true);
    size_t mine = 0;
    for (const auto& piece : snapshot.pieces()) mine += piece.bytes.size();
    EXPECT_GT(mine, 0U);
    bytes += mine;
  });
  EXPECT_EQ(static_cast<double>(bytes), 2 * plan_memory(plan_run(config_, 2)).snapshot);
}

TEST_F(RunSaverTest, WithoutAsynchronousItIsCommittedAtOnce) {
  config_.mutable_checkpoint()->set_asynchronous(false);
  run([&](RunSaver& saver, TrainingStep& step, Agreement&, parallel::Communicator&) {
    fill(step, 2);
    saver.begin(at_step(1));
    EXPECT_EQ(saver.committed_step(), 1);
    EXPECT_TRUE(exists(1));
    fill(step, 3);
  });
  expect_values(1, 2);
}

}  // namespace
}  // namespace dagpam::trainer

// trainer/run_saver.h: saves of a run's state, written while training goes on.
//
// begin() copies this rank's share to host memory, and a thread writes it from there. When every
// rank's part is durable, which the ranks learn by agreement at step ends, rank 0 gathers what they
// wrote and commits from its thread: manifest, rename, retention. All collectives run in the
// caller's thread. One save at a time: a new one waits for the one before it, so the order of
// commits is the order of steps.
//
//   saver.begin(progress);                       // all ranks
//   saver.bring(agreement);                      // all ranks, at each exchange
//   agreement.exchange();
//   saver.advance(agreement);
//   saver.finish();                              // all ranks: before the end
//
// All of these throw IoError, CheckpointError, or NonFiniteError (a parameter or moment is not
// finite: nothing is committed) for what went wrong in the background.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include "configs/manifest.pb.h"
#include "configs/run.pb.h"
#include "parallel/communicator.h"
#include "parallel/grid.h"
#include "trainer/agreement.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/run_state.h"
#include "trainer/state_tensors.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

struct SaveSettings {
  std::string checkpoints;              // the run's checkpoints/ folder
  std::string lease;                    // of rank 0's RunLock, the same on every rank
  std::function<void()> before_commit;  // rank 0, in the saver's thread: throws to stop the commit
  configs::RunConfig config;            // resolved
  std::string tokenizer_json;
};

class RunSaver {
 public:
  RunSaver(SaveSettings settings, TrainingStep& step, const parallel::Grid& grid,
           parallel::Communicator& world);
  // Waits for the threads. A save that is not committed leaves a temporary folder, which the next
  // start removes.
  ~RunSaver();
  RunSaver(const RunSaver&) = delete;
  RunSaver& operator=(const RunSaver&) = delete;

  // Starts to save the state as it is now; `progress.step` names it. With checkpoint.asynchronous
  // false, returns when it is committed.
  void begin(const Progress& progress);

  void bring(Agreement& agreement);
  void advance(const Agreement& agreement);
  void finish();

  int64_t committed_step() const { return committed_; }  // of the last commit here; -1: none

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { kIdle, kShards, kCommit };  // the same on every rank

  std::string write_shard();
  void commit(const std::vector<std::string>& records);
  void gather();
  void close();

  const SaveSettings settings_;
  TrainingStep& step_;
  const parallel::Grid& grid_;
  parallel::Communicator& world_;
  std::string tokenizer_digest_;  // rank 0

  State state_ = State::kIdle;
  int64_t saves_ = 0;  // begun so far
  int64_t brought_for_ = 0,
          heard_for_ = -1;                // of which save the last votes, and those known, spoke
  int64_t saving_ = -1, committed_ = -1;  // steps
  Snapshot snapshot_;
  configs::Manifest manifest_;
  std::unique_ptr<checkpoint::CheckpointWriter> writer_;
  std::string record_;  // of this rank's shard, once it is written
  Clock::time_point begun_;
  double stall_ms_ = 0;
  // Last: their threads use the members above, and end before those do.
  std::future<std::string> shard_;
  std::future<void> commit_;
};

}  // namespace dagpam::trainer

// trainer/hang_guard.h: a run that hangs ends itself, and says where every rank stood.
//
// Joins the watchdog (parallel/watchdog.h: this rank's section took too long), the recorder
// (parallel/flight_recorder.h: what each rank did last) and the stacks of all threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::trainer {

class HangGuard {
 public:
  enum class Section { kInit, kStep, kEvaluation, kCheckpoint };

  // `end_job` is called once, in a thread of its own, after the report is in the log; it does not
  // return. `world` must outlive this.
  HangGuard(const configs::WatchdogConfig& config, parallel::Communicator& world,
            std::function<void()> end_job);
  ~HangGuard();

  // From now on the ranks of this node read each other's last words, in this file
  // (RunFolder::flight_recorder). Throws IoError.
  void share(const std::string& recorder_path);

  // The world whose calls are recorded (and, where the config says so, compared). Lives as long as
  // this.
  parallel::Communicator& world();

  // From now on this rank is here, at this step (counted from 1); the section before is over.
  void enter(Section section, int64_t step);

  // What every rank of this node did last, a line each.
  std::string last_words() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dagpam::trainer

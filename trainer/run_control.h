// trainer/run_control.h: reasons to stop or save before the run is over, agreed by all ranks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "trainer/agreement.h"
#include "trainer/request_files.h"
#include "trainer/run_saver.h"
#include "trainer/stop_signal.h"

namespace dagpam::trainer {

struct RunLimits {
  std::string run_dir;
  double max_minutes = 0;  // from now on; 0: none
  int64_t stop_after = 0;  // step; 0: none
};

// Signals count from construction on. A wish that one rank hears of is known to all one exchange
// after it was brought, at the same point of the run.
class RunControl {
 public:
  RunControl(RunLimits limits, parallel::Communicator& world);

  // Tells and hears; also moves the saver on, where there is one. All ranks call at the same
  // points: after each step, and between the batches of an evaluation. True from the first reason
  // to stop on.
  bool poll(RunSaver* saver);

  // The same without waiting for the next call: two exchanges. All ranks call.
  bool poll_now(RunSaver* saver);

  // True where the run ends after this many steps (--stop-after), and from then on.
  bool stop_after(int64_t step);

  bool stop() const { return !reason_.empty(); }
  bool interrupted() const { return interrupted_; }  // by a signal
  const std::string& reason() const { return reason_; }

  // True once for each SAVE file. All ranks call.
  bool take_save_wish();

  // Before the communicator goes; a file STOP that was heard is removed. All ranks call.
  void settle();

 private:
  const RunLimits limits_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  StopSignal signal_;
  Agreement agreement_;
  std::unique_ptr<RequestFiles> files_;  // rank 0
  bool save_told_ = false;               // rank 0 has told of this SAVE file
  bool save_wish_ = false, interrupted_ = false, stop_file_ = false;
  std::string reason_;
};

}  // namespace dagpam::trainer

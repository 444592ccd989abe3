// trainer/stop_signal.h: SIGTERM, SIGINT and SIGUSR1 as a wish to stop at the end of the step.
#pragma once

namespace dagpam::trainer {

// While one lives, the first of the three signals is only remembered; a second one ends the process
// at once and says so (exit code 8, nothing saved), but for the same one again within two seconds:
// launchers hand on what the batch system has sent to the ranks as well. A reader of our output
// that has gone away (SIGPIPE) is no reason to end. Several share what they hear.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();  // restores what was there before
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  int received() const;  // the signal's number, or 0
};

}  // namespace dagpam::trainer

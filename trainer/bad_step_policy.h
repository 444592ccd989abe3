// trainer/bad_step_policy.h: what becomes of a run whose step was bad (train.bad_step).
#pragma once

#include <cstdint>
#include <string>

#include "configs/run.pb.h"
#include "trainer/step_guard.h"

namespace dagpam::trainer {

class BadStepPolicy {
 public:
  enum class Verdict { kGoOn, kRollBack };

  // `guard` must outlive this.
  BadStepPolicy(const configs::BadStepConfig& config, StepGuard& guard);

  // Looks at what the guard has found, and waits for the device. All ranks have found the same, and
  // get the same answer if they look at the same steps. Throws NonFiniteError where the run must
  // end.
  Verdict look();

  // Ends the run: there is no checkpoint to go back to.
  [[noreturn]] void fail_without_checkpoint() const;

 private:
  std::string what() const;

  const configs::BadStepConfig config_;
  StepGuard& guard_;
  int64_t reported_;  // updates left out that the log tells of
};

}  // namespace dagpam::trainer

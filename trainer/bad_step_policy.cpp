#include "trainer/bad_step_policy.h"

#include "configs/errors.h"
#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

namespace {

using configs::BadStepConfig;

[[noreturn]] void end_run(const std::string& why) {
  throw NonFiniteError(why +
                       ": the update was left out and nothing of it is saved; lower "
                       "optimizer.lr, or look at the data; the last checkpoint is good: go on with "
                       "--resume latest, or choose another train.bad_step.policy");
}

}  // namespace

BadStepPolicy::BadStepPolicy(const BadStepConfig& config, StepGuard& guard)
    : config_(config), guard_(guard), reported_(guard.skipped_steps()) {}

std::string BadStepPolicy::what() const {
  return "step " + std::to_string(guard_.first_bad() + 1) + ": " + guard_.why();
}

BadStepPolicy::Verdict BadStepPolicy::look() {
  if (guard_.first_bad() < 0) return Verdict::kGoOn;
  const std::string budget = "train.bad_step.budget of " + std::to_string(config_.budget());
  if (config_.policy() == BadStepConfig::ABORT) end_run(what());
  if (config_.policy() == BadStepConfig::ROLLBACK) {
    if (guard_.rollbacks() >= config_.budget()) {
      end_run(what() + "; the " + budget + " rollbacks is used up");
    }
    log_info(what());
    return Verdict::kRollBack;
  }
  const int64_t skipped = guard_.skipped_steps();
  if (skipped > config_.budget()) {
    end_run(what() + "; " + std::to_string(skipped) + " bad steps are more than the " + budget);
  }
  log_info(what() + ": its update is left out (" + std::to_string(skipped - reported_) +
           " since the last such line, " + std::to_string(skipped) + " of at most " +
           std::to_string(config_.budget()) + " in all)");
  reported_ = skipped;
  guard_.forget();
  return Verdict::kGoOn;
}

void BadStepPolicy::fail_without_checkpoint() const {
  end_run(what() + "; there is no checkpoint to go back to");
}

}  // namespace dagpam::trainer

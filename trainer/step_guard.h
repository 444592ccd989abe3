// trainer/step_guard.h: which steps must not update the model (train.bad_step).
//
// A step is bad where the gradient norm is not finite (training_step.cpp makes it so where a loss
// is not), and with bad_step.spike_z where the mean loss or the norm lies so many standard
// deviations above the mean of the window's steps. The verdict is a tensor on the device: it
// decides the update there, and no host waits for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "configs/manifest.pb.h"
#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::trainer {

class StepGuard {
 public:
  // dp: the data-parallel group; must outlive this.
  StepGuard(const configs::BadStepConfig& config, parallel::Communicator& dp);

  // 1 where step `step` (from 0) must not update, else 0: a float32 scalar, the same on every rank.
  // loss: this copy's share of the mean loss, a scalar; norm: of the whole gradient, the same on
  // every rank. After a bad step every later one is bad too, until restore(); not with policy SKIP.
  // All ranks call.
  at::Tensor judge(int64_t step, const at::Tensor& loss, const at::Tensor& norm);

  // The first bad step since the last restore(), -1 where there is none; and the updates left out
  // in the whole run. These wait for the device; where it is the host they cost nothing.
  int64_t first_bad() const;
  int64_t skipped_steps() const;
  bool on_host() const;
  void forget();  // what was found so far; the counts stay

  // What is wrong with the first bad step, for a message.
  std::string why() const;

  int64_t rollbacks() const { return rollbacks_; }  // of the whole run
  void count_rollback() { ++rollbacks_; }

  // The window and the counts, to and from a checkpoint. A window of another length starts empty.
  // restore() forgets what was found; the number of rollbacks never goes down.
  configs::Manifest::Guard save() const;
  void restore(const configs::Manifest::Guard& saved);

 private:
  at::Tensor spike(const at::Tensor& window, const at::Tensor& value) const;

  const configs::BadStepConfig config_;
  parallel::Communicator& dp_;
  at::Tensor skipped_;         // [] float32
  at::Tensor found_;           // [3] float64: the first bad step, its loss, its norm
  at::Tensor losses_, norms_;  // [W] float64, nan where there is no value yet
  int64_t rollbacks_ = 0;
};

}  // namespace dagpam::trainer

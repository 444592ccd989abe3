// trainer/agreement.h: what the ranks of a run tell each other at the end of each step.
//
// One small sum over all ranks a step, which nobody waits for: each exchange starts a sum and gives
// the result of the one before, so that what a rank says is known to all one exchange later, on
// every rank at the same point of the run.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/communicator.h"

namespace dagpam::trainer {

enum class Vote : int64_t {
  kSignal,        // got a signal to stop
  kTimeOver,      // --max-minutes is over
  kStopFile,      // saw the file STOP
  kSaveFile,      // saw the file SAVE
  kShardWritten,  // has written its part of the save under way
  kCommitted,     // has committed it (rank 0)
  kCount
};

class Agreement {
 public:
  explicit Agreement(parallel::Communicator& world);  // must outlive this

  // For the next exchange. Every vote is "no" until it is brought, and again after the exchange.
  void bring(Vote vote, bool yes);

  // All ranks call at the same points. Throws CommError.
  void exchange();

  // Ranks that had said yes at the exchange before the last one.
  int64_t count(Vote vote) const;

  // Waits for the sum under way, before the communicator is used for the last time. All ranks call.
  void settle();

 private:
  parallel::Communicator& world_;
  at::Tensor mine_, under_way_, known_;  // [votes] int64
  parallel::WorkPtr work_;
};

}  // namespace dagpam::trainer

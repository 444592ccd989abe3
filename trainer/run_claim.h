// trainer/run_claim.h: a run folder taken for this start of the program.
#pragma once

#include <memory>
#include <string>

#include "parallel/communicator.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/run_folder.h"

namespace dagpam::trainer {

// Held for the life of the object: rank 0 has the lock (checkpoint/run_lock.h), every rank its
// lease.
class RunClaim {
 public:
  // All ranks call. Makes the folder and removes what saves that died left behind. Throws
  // CheckpointError on every rank where the folder holds a run and `may_go_on` is false; on rank 0
  // where another start holds it; IoError.
  RunClaim(const RunFolder& folder, bool may_go_on, parallel::Communicator& world);

  const std::string& lease() const { return lease_; }

  // On rank 0, before a commit. Throws CheckpointError where another start has taken over.
  void check() const { lock_->check(); }

 private:
  std::unique_ptr<checkpoint::RunLock> lock_;  // rank 0
  std::string lease_;                          // rank 0's, on every rank
};

}  // namespace dagpam::trainer

#include "trainer/run_claim.h"

#include <ATen/ops/zeros.h>

#include <cstdlib>

#include "configs/errors.h"
#include "trainer/checkpoint/catalog.h"

namespace dagpam::trainer {

namespace {

// Of the batch system, for the lock.
std::string job_id() {
  const char* id = std::getenv("SLURM_JOB_ID");
  return id ? id : "";
}

}  // namespace

RunClaim::RunClaim(const RunFolder& folder, bool may_go_on, parallel::Communicator& world) {
  // Rank 0 looks and tells, so that all ranks refuse together.
  const bool first = world.rank() == 0;
  at::Tensor holds = at::zeros({1}, at::kLong);
  if (first && folder.holds_a_run()) holds.fill_(1);
  world.broadcast(holds, 0);
  if (holds.item<int64_t>() != 0 && !may_go_on) {
    throw CheckpointError(folder.root +
                          ": holds a run already: give --resume latest to go on "
                          "with it, or another --run-dir");
  }
  if (first) {
    folder.create();
    lock_ = std::make_unique<checkpoint::RunLock>(folder.root, job_id());
    checkpoint::remove_stale(checkpoint::posix_file_system(), folder.checkpoints(), lock_->lease());
    lease_ = lock_->lease();
  }
  lease_ = world.all_gather_bytes(lease_).front();
}

}  // namespace dagpam::trainer

// trainer/trainer.h: the training loop and the run folder it fills.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::trainer {

struct TrainRequest {
  configs::RunConfig config;  // as configs::load gives it
  std::string run_dir;
  std::string resume;     // "", "auto", "latest", "latest-valid", or a step's number
  std::string init_from;  // a checkpoint folder whose weights alone are taken, or ""
  std::vector<std::string> allow_change;  // fields that may differ from the checkpoint's config
  int64_t stop_after = 0;                 // save and end after this step; 0: run to the end
  double max_minutes = 0;                 // save and end after this time; 0: no limit
  int64_t profile_steps = 0;              // steps traced, from the third of this start on
  std::string backend;  // what the ranks compute on and talk over, and why: for the header
};

// Trains until the run's last step, --stop-after, --max-minutes, or a signal. All ranks of `world`
// call with the same request. Throws: ConfigError, DataError, CheckpointError (also where the run
// folder is in use, or holds a run and `resume` is ""), NonFiniteError, IoError, CommError,
// Interrupted (a signal; state saved).
void train(const TrainRequest& request, parallel::Communicator& world);

}  // namespace dagpam::trainer

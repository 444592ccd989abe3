// trainer/run_plan.h: what a run will be, worked out from its config, its data and the number of
// ranks before anything is written or computed.
#pragma once

#include <cstdint>
#include <string>

#include "configs/run.pb.h"
#include "data/sidecar.h"

namespace dagpam::trainer {

struct RunPlan {
  configs::RunConfig config;  // every field set, those too that data and ranks decide
  data::Sidecar data;         // of the first training source (they share tokenizer and vocabulary)
  int64_t steps = 0;          // of the whole run
  int64_t tokens_per_step = 0;  // of sentence pairs: targets, on the average
  int64_t train_tokens = 0;     // over all sources; of sentence pairs those of the targets
  int ranks = 1;
  int copies = 1;       // of the model: data-parallel; each is shared by ranks / copies
  bool on_gpu = false;  // set by whoever has the communicator: attention keeps other tensors there
};

// Validates, fills in, opens every data set that the config names. Throws ConfigError or DataError.
RunPlan plan_run(const configs::RunConfig& config, int ranks);

// Steps of a run of that length, rounded up to whole ones. Throws ConfigError past 2^31.
int64_t steps_of_run(const configs::TrainConfig& train, double tokens_per_step,
                     double steps_per_epoch);

// Tokens that a rank computes at once; of sentence pairs the most of either side, padding included.
int64_t micro_batch_tokens(const RunPlan& plan);

// The lines that `train --dry-run` prints, and the head of a run's log.
std::string describe(const RunPlan& plan);

}  // namespace dagpam::trainer

// trainer/run_state.h: the state of a run, to and from checkpoints (trainer/checkpoint/ knows the
// format).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "data/batch_source.h"
#include "parallel/communicator.h"
#include "parallel/grid.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

// How far a run has come.
struct Progress {
  std::string run_id;  // made once for a run, kept when it is resumed
  int64_t step = 0;    // optimizer steps done
  int64_t tokens = 0;  // trained on, over all ranks
  data::DataPosition data;
  int saved_dp = 1, saved_tp = 1;  // the grid that wrote the checkpoint
};

struct SaveRequest {
  std::string checkpoints;              // the run's checkpoints/ folder
  std::string lease;                    // of rank 0's RunLock, the same on every rank
  std::function<void()> before_commit;  // rank 0: throws where the run folder is no longer ours
  const configs::RunConfig* config = nullptr;  // resolved
  std::string tokenizer_json;
  double loss = 0;  // of the last step
};

// A new run's id, the same on every rank. All ranks call.
std::string new_run_id(parallel::Communicator& group);

// Writes checkpoints/step-N, N = progress.step, from all ranks of `world`: each cut tensor from one
// copy of the model, tensors that ranks hold alike shared out among them; then prunes by
// checkpoint.keep and keep_every. All ranks call. A checkpoint of
// that step that is there already is left as it is. Throws IoError; then no folder of that name
// exists.
void save_run(const SaveRequest& request, const Progress& progress, TrainingStep& step,
              const parallel::Grid& grid, parallel::Communicator& world);

// The checkpoint folder that --resume means: "latest", "latest-valid", "auto" ("" where there is
// none), or a step's number. Throws CheckpointError. Rank 0 looks, all ranks call and get its
// answer.
std::string find_resume_point(const std::string& run_dir, const std::string& resume,
                              parallel::Communicator& group);

// Reads this rank's part of parameters and optimizer state of `folder`, saved under any layout,
// into `step` after every file of it has been verified. Refuses (ConfigError) where the resolved
// config differs in a field that may not change on resume and is not in `allow_change`; names the
// fields. May change: parallel.*, log.*, checkpoint.*, the length of the run, train.micro_batch and
// mixture weights. All ranks call.
Progress load_run(const std::string& folder, const configs::RunConfig& config,
                  const std::vector<std::string>& allow_change, TrainingStep& step);

// Reads this rank's part of the parameters alone.
void load_parameters(const std::string& folder, const TransformerLm& model);
void load_parameters(const std::string& folder, TrainingStep& step);  // all ranks call

// The resolved config and the tokenizer that a checkpoint carries. Verifies the checkpoint in full.
struct SavedConfig {
  configs::RunConfig config;
  std::string tokenizer_json;
  int64_t step = 0;
};
SavedConfig read_saved_config(const std::string& folder);

}  // namespace dagpam::trainer

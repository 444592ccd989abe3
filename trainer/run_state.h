// trainer/run_state.h: the state of a run, to and from checkpoints (trainer/checkpoint/ knows the
// format).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/manifest.pb.h"
#include "configs/run.pb.h"
#include "data/batch_source.h"
#include "parallel/communicator.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

// How far a run has come: with the tensors, all that a checkpoint holds.
struct Progress {
  std::string run_id;  // made once for a run, kept when it is resumed
  int64_t step = 0;    // optimizer steps done
  int64_t tokens = 0;  // trained on, over all ranks
  data::DataPosition data;
  int saved_dp = 1, saved_tp = 1;   // the grid that wrote the checkpoint
  double loss = 0;                  // of the last steps, nats a token
  std::optional<double> valid_nll;  // where this step was evaluated
  configs::Manifest::Guard guard;
  configs::Manifest::LogWindow log_window;
};

// A new run's id, the same on every rank. All ranks call.
std::string new_run_id(parallel::Communicator& group);

// What a checkpoint's manifest says of the run; the writer adds what it knows of files and tensors.
// `rate`: the learning rate of the last step.
configs::Manifest to_manifest(const Progress& progress, const configs::RunConfig& config,
                              const std::string& tokenizer_digest, double rate);

// The checkpoint folder that --resume means: "latest", "latest-valid", "auto" ("" where there is
// none), or a step's number. Throws CheckpointError. Rank 0 looks, all ranks call and get its
// answer.
std::string find_resume_point(const std::string& run_dir, const std::string& resume,
                              parallel::Communicator& group);

// Reads this rank's part of parameters and optimizer state of `folder`, saved under any layout,
// into `step` after every file of it has been verified. Refuses (ConfigError) where the resolved
// config differs in a field that may not change on resume and is not allowed by `allow_change`;
// names the fields. May change: parallel.*, log.*, checkpoint.*, the length of the run,
// train.micro_batch, train.micro_tokens and mixture weights. Refuses another tokenizer (DataError)
// unless "tokenizer" is allowed. All ranks call.
Progress load_run(const std::string& folder, const configs::RunConfig& config,
                  const std::string& tokenizer_digest, const std::vector<std::string>& allow_change,
                  TrainingStep& step);

// Whether the field, or a message that it is part of, is among the allowed.
bool is_allowed(const std::vector<std::string>& allow_change, const std::string& field);

// Says which data is not what the run was saved with.
void warn_of_other_data(const data::DataPosition& saved, const data::DataPosition& now);

// Reads this rank's part of the parameters alone.
void load_parameters(const std::string& folder, const Model& model);
void load_parameters(const std::string& folder, TrainingStep& step);  // all ranks call

// The resolved config and the tokenizer that a checkpoint carries. Verifies the checkpoint in full.
struct SavedConfig {
  configs::RunConfig config;
  std::string tokenizer_json;
  int64_t step = 0;
};
SavedConfig read_saved_config(const std::string& folder);

}  // namespace dagpam::trainer

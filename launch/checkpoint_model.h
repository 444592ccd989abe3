// launch/checkpoint_model.h: a model with the weights of a checkpoint, as several subcommands need
// it.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"
#include "trainer/model/transformer_lm.h"
#include "trainer/run_state.h"

namespace dagpam::launch {

struct CheckpointModel {
  trainer::SavedConfig saved;
  std::unique_ptr<data::Tokenizer> tokenizer;
  std::unique_ptr<trainer::TransformerLm> model;
};

// `checkpoint`: a checkpoint folder, or a run folder (its latest). This rank's part of the model,
// on its device; the ranks of `tp`, which must outlive it, call together. Throws CheckpointError;
// ConfigError where the model does not divide over them.
CheckpointModel load_checkpoint_model(const std::string& checkpoint, parallel::Communicator& tp);

}  // namespace dagpam::launch

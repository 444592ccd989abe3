// launch/checkpoint_model.h: a model with the weights of a checkpoint, as several subcommands need
// it.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/model/model.h"
#include "trainer/model/transformer_lm.h"
#include "trainer/run_state.h"

namespace dagpam::launch {

struct CheckpointModel {
  trainer::SavedConfig saved;
  std::unique_ptr<data::Tokenizer> tokenizer;
  std::unique_ptr<trainer::Model> model;

  // The model as one of a kind. Throws ConfigError where it is of the other, and says which command
  // is for that.
  const trainer::TransformerLm& language_model() const;
  const trainer::EncoderDecoder& translator() const;
};

// `checkpoint`: a checkpoint folder, or a run folder (its latest). This rank's part of the model,
// on its device; the ranks of `tp`, which must outlive it, call together. Throws CheckpointError;
// ConfigError where the model does not divide over them.
CheckpointModel load_checkpoint_model(const std::string& checkpoint, parallel::Communicator& tp);

}  // namespace dagpam::launch

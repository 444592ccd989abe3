#include "launch/checkpoint_model.h"

#include "configs/errors.h"
#include "configs/run_config.h"

namespace dagpam::launch {

CheckpointModel load_checkpoint_model(const std::string& checkpoint, parallel::Communicator& tp) {
  CheckpointModel loaded;
  loaded.saved = trainer::read_saved_config(checkpoint);
  loaded.tokenizer = data::tokenizer_from_json(loaded.saved.tokenizer_json);
  configs::RunConfig& config = loaded.saved.config;
  config.mutable_parallel()->set_tensor(tp.size());
  config.mutable_parallel()->set_sequence_parallel(false);
  configs::data_parallel_size(config, tp.size());
  loaded.model = trainer::make_model(config, trainer::TensorParallel{tp});
  trainer::load_parameters(checkpoint, *loaded.model);
  loaded.model->move_to(tp.device());
  return loaded;
}

const trainer::TransformerLm& CheckpointModel::language_model() const {
  const auto* found = dynamic_cast<const trainer::TransformerLm*>(model.get());
  if (found == nullptr) {
    throw ConfigError(
        "--checkpoint: model.kind is ENCODER_DECODER, expected DECODER: "
        "`dagpam translate` is for it");
  }
  return *found;
}

const trainer::EncoderDecoder& CheckpointModel::translator() const {
  const auto* found = dynamic_cast<const trainer::EncoderDecoder*>(model.get());
  if (found == nullptr) {
    throw ConfigError(
        "--checkpoint: model.kind is DECODER, expected ENCODER_DECODER: "
        "`dagpam generate` is for it");
  }
  return *found;
}

}  // namespace dagpam::launch

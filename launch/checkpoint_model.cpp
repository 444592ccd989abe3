#include "launch/checkpoint_model.h"

namespace dagpam::launch {

CheckpointModel load_checkpoint_model(const std::string& checkpoint) {
  CheckpointModel loaded;
  loaded.saved = trainer::read_saved_config(checkpoint);
  loaded.tokenizer = data::tokenizer_from_json(loaded.saved.tokenizer_json);
  const auto& config = loaded.saved.config;
  loaded.alone = parallel::make_self_communicator();
  loaded.model = std::make_unique<trainer::TransformerLm>(config.model(), config.attention(),
                                                          trainer::TensorParallel{*loaded.alone});
  trainer::load_parameters(checkpoint, *loaded.model);
  return loaded;
}

}  // namespace dagpam::launch

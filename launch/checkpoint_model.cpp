#include "launch/checkpoint_model.h"

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
  loaded.model = std::make_unique<trainer::TransformerLm>(config.model(), config.attention(),
                                                          trainer::TensorParallel{tp});
  trainer::load_parameters(checkpoint, *loaded.model);
  loaded.model->move_to(tp.device());
  return loaded;
}

}  // namespace dagpam::launch

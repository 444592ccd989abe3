#include "trainer/model/model.h"

#include "trainer/model/encoder_decoder.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

std::unique_ptr<Model> make_model(const configs::RunConfig& config, const TensorParallel& tp,
                                  at::ScalarType type) {
  if (config.model().kind() == configs::ModelConfig::ENCODER_DECODER) {
    return std::make_unique<EncoderDecoder>(config, tp, type);
  }
  return std::make_unique<TransformerLm>(config.model(), config.attention(), tp, type);
}

}  // namespace dagpam::trainer

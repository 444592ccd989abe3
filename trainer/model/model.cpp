#include "trainer/model/model.h"

#include <ATen/ops/empty.h>

#include "trainer/model/encoder_decoder.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

parallel::DropoutKey DropoutStep::key(int64_t layer, parallel::DropoutSite site) const {
  const uint64_t value = parallel::dropout_key(seed, step, layer, site);
  if (!keys.defined()) return value;
  return {value, keys.select(0, layer).select(0, static_cast<int64_t>(site))};
}

at::Tensor dropout_keys(uint64_t seed, int64_t step, int64_t layers) {
  const at::Tensor keys = at::empty({layers, parallel::kDropoutSites}, at::kLong);
  auto* key = keys.mutable_data_ptr<int64_t>();
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t site = 0; site < parallel::kDropoutSites; ++site) {
      *key++ = static_cast<int64_t>(
          parallel::dropout_key(seed, step, layer, static_cast<parallel::DropoutSite>(site)));
    }
  }
  return keys;
}

std::unique_ptr<Model> make_model(const configs::RunConfig& config, const TensorParallel& tp,
                                  at::ScalarType type) {
  if (config.model().kind() == configs::ModelConfig::ENCODER_DECODER) {
    return std::make_unique<EncoderDecoder>(config, tp, type);
  }
  return std::make_unique<TransformerLm>(config.model(), config.attention(), tp, type);
}

}  // namespace dagpam::trainer

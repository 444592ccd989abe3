// trainer/model/transformer_lm.h: the decoder-only language model.
//
// Legend: B batch, N new tokens, T context, C width, H query heads, Hkv key-value heads, D = C / H,
// V vocabulary, L layers; P ranks of the tensor-parallel group that shares the model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/attention.h"
#include "attention/lambdas.h"
#include "configs/run.pb.h"
#include "parallel/parameter.h"
#include "trainer/model/layers.h"
#include "trainer/model/model.h"

namespace dagpam::trainer {

class Block;
struct BlockContext;

class TransformerLm : public Model {
 public:
  // As make_model() says, without the rest of the config.
  TransformerLm(const configs::ModelConfig& model, const configs::AttentionConfig& attention,
                const TensorParallel& tp, at::ScalarType type = at::kFloat);
  ~TransformerLm() override;

  void move_to(at::Device device) override;

  // [B, N, C], after the final norm, ready for logits(); alike on all ranks.
  at::Tensor hidden(const ForwardInput& input) const;
  at::Tensor logits(const at::Tensor& hidden) const;  // [B, N, C] -> [B, N, V], this rank's of V

  at::Tensor losses(const ForwardInput& input, const at::Tensor& targets, int64_t first = 0,
                    double smoothing = 0) const override;

  // Of layer `index`, as the layer uses them; undefined where attention has none.
  attention::Lambdas lambdas(int64_t index) const;

  std::vector<attention::KeyValueCache> make_caches() const {
    return std::vector<attention::KeyValueCache>(static_cast<size_t>(model_.layers()));
  }

 private:
  parallel::Stream stream_of(const ForwardInput& input) const;
  at::Tensor embed(const ForwardInput& input, const at::Tensor& positions,
                   const BlockContext& context) const;

  std::unique_ptr<parallel::VocabularyTable> token_embedding_;  // [V, C]
  parallel::ParameterPtr position_embedding_;                   // [T, C], LEARNED
  at::Tensor sinusoids_;                                        // [T, C], SINUSOIDAL
  attention::Rotary rotary_;                                    // [T, D / 2], ROTARY
  std::unique_ptr<attention::LambdaBank> lambdas_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::unique_ptr<Norm> final_norm_;
  std::unique_ptr<parallel::VocabularyTable> output_;  // [V, C], untied
};

}  // namespace dagpam::trainer

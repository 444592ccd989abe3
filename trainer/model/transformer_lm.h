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
#include "trainer/model/observer.h"

namespace dagpam::trainer {

// What decides the dropout masks of one step.
struct DropoutStep {
  uint64_t seed = 0;
  int64_t step = 0;
};

struct ForwardInput {
  at::Tensor tokens;     // [B, N] int64
  at::Tensor positions;  // [B, N] int64, or undefined: consecutive from the cache's length
  at::Tensor key_begin;  // [B, N] int32, first visible key, or undefined: 0
  at::Tensor samples;    // [B] int64, global sample index; read where dropout is on
  const DropoutStep* dropout = nullptr;  // none: evaluation
  // What backward computes again. Samples, dropout and key_begin must then live until backward.
  configs::TrainConfig::Recompute recompute = configs::TrainConfig::NONE;
  std::vector<attention::KeyValueCache>* caches = nullptr;  // one a layer: generation
  // Of an analysis.
  Observer* observer = nullptr;
  BlockParts parts = BlockParts::kWhole;
  bool causal = true;  // false: every token sees all others
};

class Block;
struct BlockContext;

class TransformerLm {
 public:
  // `model` and `attention` are complete (configs::with_defaults) and valid, model.vocab is set.
  // Parameters are declared, not initialised: call parameters().initialise(seed), or load a
  // checkpoint. All ranks of `tp` make and call the model together; the group must outlive it.
  // `type` of weights and activations: float32 or bfloat16 (docs/parallelism.md says what is then
  // computed in which).
  TransformerLm(const configs::ModelConfig& model, const configs::AttentionConfig& attention,
                const TensorParallel& tp, at::ScalarType type = at::kFloat);
  ~TransformerLm();
  TransformerLm(const TransformerLm&) = delete;
  TransformerLm& operator=(const TransformerLm&) = delete;

  // Parameters and tables, from the CPU, where they are declared and initialised (so that weights
  // are the same bits on every device). Before gradients or an optimizer hold on to parameters.
  void move_to(at::Device device);

  const parallel::ParameterList& parameters() const { return parameters_; }
  const configs::ModelConfig& config() const { return model_; }

  // [B, N, C], after the final norm, ready for logits(); alike on all ranks.
  at::Tensor hidden(const ForwardInput& input) const;
  at::Tensor logits(const at::Tensor& hidden) const;  // [B, N, C] -> [B, N, V], this rank's of V

  // -log p(target) in nats of the tokens from `first` on: [B, N - first] float32, alike on all
  // ranks. targets [B, N] int64. With label smoothing s: (1 - s) times that, plus s times the mean
  // of -log p over the vocabulary.
  at::Tensor losses(const ForwardInput& input, const at::Tensor& targets, int64_t first = 0,
                    double smoothing = 0) const;

  // Of layer `index`, as the layer uses them; undefined where attention has none.
  attention::Lambdas lambdas(int64_t index) const;

  std::vector<attention::KeyValueCache> make_caches() const {
    return std::vector<attention::KeyValueCache>(static_cast<size_t>(model_.layers()));
  }

 private:
  parallel::Stream stream_of(const ForwardInput& input) const;
  at::Tensor embed(const ForwardInput& input, const at::Tensor& positions,
                   const BlockContext& context) const;

  configs::ModelConfig model_;
  TensorParallel tp_;
  parallel::ParameterList parameters_;
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

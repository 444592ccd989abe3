// trainer/model/model.h: what training, saving and evaluating need of a model of any kind.
//
// Legend: B batch, N new tokens of the text that is predicted, S tokens of the source text, C
// width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/attention.h"
#include "configs/run.pb.h"
#include "parallel/parameter.h"
#include "parallel/random.h"
#include "trainer/model/layers.h"
#include "trainer/model/observer.h"

namespace dagpam::trainer {

// What decides the dropout masks of one step.
struct DropoutStep {
  uint64_t seed = 0;
  int64_t step = 0;
  // [layers, sites] int64, on the model's device: the keys of the step that draws, where that may
  // be a later one (step_graph.h); else undefined.
  at::Tensor keys = {};

  parallel::DropoutKey key(int64_t layer, parallel::DropoutSite site) const;
};
// `keys` of a step, on the CPU.
at::Tensor dropout_keys(uint64_t seed, int64_t step, int64_t layers);

struct ForwardInput {
  at::Tensor tokens;     // [B, N] int64
  at::Tensor positions;  // [B, N] int64, or undefined: consecutive from the cache's length
  at::Tensor key_begin;  // [B, N] int32, first visible key, or undefined: 0
  at::Tensor samples;    // [B] int64, global sample index; read where dropout is on
  // Encoder-decoder models. What stands behind a source's length is padding, and is not seen.
  at::Tensor source;                     // [B, S] int64
  at::Tensor source_lengths;             // [B] int32
  const DropoutStep* dropout = nullptr;  // none: evaluation
  // What backward computes again. Samples, lengths, dropout and key_begin must then live until
  // backward.
  configs::TrainConfig::Recompute recompute = configs::TrainConfig::NONE;
  std::vector<attention::KeyValueCache>* caches = nullptr;  // one a layer: generation
  // Of an analysis of a language model.
  Observer* observer = nullptr;
  BlockParts parts = BlockParts::kWhole;
  bool causal = true;  // false: every token sees all others
};

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const parallel::ParameterList& parameters() const { return parameters_; }
  const configs::ModelConfig& config() const { return model_; }

  // Parameters and tables, from the CPU, where they are declared and initialised (so that weights
  // are the same bits on every device). Before gradients or an optimizer hold on to parameters.
  virtual void move_to(at::Device device) = 0;

  // -log p(target) in nats of the tokens from `first` on: [B, N - first] float32, alike on all
  // ranks. targets [B, N] int64. With label smoothing s: (1 - s) times that, plus s times the mean
  // of -log p over the vocabulary.
  virtual at::Tensor losses(const ForwardInput& input, const at::Tensor& targets, int64_t first = 0,
                            double smoothing = 0) const = 0;

 protected:
  Model(const configs::ModelConfig& model, const TensorParallel& tp, at::ScalarType type)
      : model_(model), tp_(tp), parameters_(tp.group.rank(), tp.group.size(), type) {}

  configs::ModelConfig model_;
  TensorParallel tp_;
  parallel::ParameterList parameters_;
};

// The model of `config`, which is complete (configs::with_defaults) and valid; model.vocab is set.
// Parameters are declared, not initialised: call parameters().initialise(seed), or load a
// checkpoint. All ranks of `tp` make and call the model together; the group must outlive it. `type`
// of weights and activations: float32 or bfloat16 (docs/parallelism.md says what is then computed
// in which).
std::unique_ptr<Model> make_model(const configs::RunConfig& config, const TensorParallel& tp,
                                  at::ScalarType type = at::kFloat);

}  // namespace dagpam::trainer

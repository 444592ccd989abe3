// trainer/model/block.h: one Transformer block: self-attention, in a decoder cross-attention to
// what the encoder gave, and MLP, each on a residual branch, normed before (PRE: x + f(norm(x))) or
// after (POST: norm(x + f(x))). Where model.attention_residual or model.mlp_residual is false, that
// branch takes the stream's place: f(norm(x)), or norm(f(x)).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trainer/model/attention_layer.h"

namespace dagpam::trainer {

struct BlockOptions {
  std::string prefix;         // of parameter names, e.g. "layers.3."
  int64_t dropout_layer = 0;  // of the whole model, for dropout's keys
  attention::Options attention;
  std::function<attention::Lambdas()> lambdas;
  // Of a decoder that reads a memory.
  std::optional<attention::Options> cross = {};
  std::function<attention::Lambdas()> cross_lambdas = {};
};

class Block {
 public:
  Block(const configs::ModelConfig& model, const BlockOptions& options,
        parallel::ParameterList& parameters, const TensorParallel& tp);

  // x [B, N, C], or this rank's tokens of it -> the same shape. `cache` is this layer's, or
  // nullptr; `memory` is project()'s, or nullptr where there is no cross-attention.
  at::Tensor forward(const at::Tensor& x, const BlockContext& context,
                     attention::KeyValueCache* cache, const KeysValues* memory = nullptr) const;

  // memory [B, M, C], past parallel::enter_cut_layer.
  KeysValues project(const at::Tensor& memory) const { return cross_->project(memory); }

  // Of self-attention and of cross-attention; undefined where there are none.
  attention::Lambdas lambdas() const { return attention_.lambdas(); }
  attention::Lambdas cross_lambdas() const {
    return cross_ ? cross_->lambdas() : attention::Lambdas{};
  }

 private:
  at::Tensor normed_after(const at::Tensor& x, const BlockContext& context,
                          attention::KeyValueCache* cache, const KeysValues* memory) const;
  at::Tensor normed_before(const at::Tensor& x, const BlockContext& context,
                           attention::KeyValueCache* cache, const KeysValues* memory) const;
  at::Tensor attended(const at::Tensor& x, const BlockContext& context,
                      attention::KeyValueCache* cache) const;
  at::Tensor read(const at::Tensor& x, const BlockContext& context, const KeysValues& memory) const;
  at::Tensor transformed(const at::Tensor& x, const BlockContext& context) const;
  at::Tensor drop(const at::Tensor& x, const BlockContext& context,
                  parallel::DropoutSite site) const;

  int64_t dropout_layer_;
  double dropout_;
  bool pre_norm_;
  bool attention_residual_, mlp_residual_;
  Norm attention_norm_;
  AttentionLayer attention_;
  std::unique_ptr<Norm> cross_norm_;
  std::unique_ptr<AttentionLayer> cross_;
  Norm mlp_norm_;
  Mlp mlp_;
};

// Blocks one after the other, those of one stack. With `recompute` FULL each is computed again in
// backward. `caches`: one a block, or nullptr; `memory` [B, M, C], past enter_cut_layer, or
// undefined; `projected`: in its place what the blocks made of it, or nullptr.
at::Tensor run_blocks(const std::vector<std::unique_ptr<Block>>& blocks, at::Tensor x,
                      const BlockContext& context, configs::TrainConfig::Recompute recompute,
                      std::vector<attention::KeyValueCache>* caches = nullptr,
                      const at::Tensor& memory = {},
                      const std::vector<KeysValues>* projected = nullptr);

}  // namespace dagpam::trainer

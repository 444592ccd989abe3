// trainer/model/block.h: one Transformer block: self-attention and MLP, each on a residual branch,
// normed before (PRE: x + f(norm(x))) or after (POST: norm(x + f(x))). Heads and the MLP's hidden
// channels are cut over a tensor-parallel group of P ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "attention/attention.h"
#include "configs/run.pb.h"
#include "parallel/parameter.h"
#include "parallel/random.h"
#include "trainer/model/layers.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

// What the blocks of one forward pass share.
struct BlockContext {
  attention::Visibility visibility;
  std::optional<attention::Rotary> rotary;  // rows of the new tokens' positions
  at::Tensor samples;                       // [B] int64
  const DropoutStep* dropout = nullptr;
  parallel::Stream stream = parallel::Stream::kWhole;
  bool recompute_attention = false;  // its inner part
  attention::Lambdas lambdas;        // of a block that is computed again; else undefined
  int64_t first_token = 0;           // of the residual stream that this rank holds
  Observer* observer = nullptr;
  BlockParts parts = BlockParts::kWhole;
};

class Block {
 public:
  Block(const configs::ModelConfig& model, const attention::Options& attention, int64_t index,
        parallel::ParameterList& parameters, const TensorParallel& tp,
        std::function<attention::Lambdas()> lambdas);

  // x [B, N, C], or this rank's tokens of it -> the same shape. `cache` is this layer's, or
  // nullptr.
  at::Tensor forward(const at::Tensor& x, const BlockContext& context,
                     attention::KeyValueCache* cache) const;

  attention::Lambdas lambdas() const { return attention_->lambdas(); }

 private:
  at::Tensor attend(const at::Tensor& x, const BlockContext& context,
                    attention::KeyValueCache* cache) const;
  at::Tensor without_sums(const at::Tensor& x, const BlockContext& context,
                          attention::KeyValueCache* cache) const;
  at::Tensor drop(const at::Tensor& x, const BlockContext& context,
                  parallel::DropoutSite site) const;

  parallel::Communicator* tp_;
  int64_t index_, heads_, kv_heads_, query_heads_, head_width_;  // heads of this rank
  double dropout_, attention_dropout_;
  bool pre_norm_;
  Norm attention_norm_;
  parallel::ColumnLinear qkv_;  // rows by key-value head: its query heads, its key, its value
  std::unique_ptr<parallel::ColumnLinear> gate_;  // DIFF2's, a number a head
  std::unique_ptr<attention::Attention> attention_;
  parallel::RowLinear out_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace dagpam::trainer

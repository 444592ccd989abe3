// trainer/model/attention_layer.h: attention with its projections: queries from the residual
// stream, keys and values from it too, or from a memory (cross-attention). Heads are cut over a
// tensor-parallel group.
//
// Legend: B batch, N tokens of the residual stream, M of the memory, C width, H heads, Hkv
// key-value heads of this rank, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "configs/run.pb.h"
#include "parallel/parameter.h"
#include "parallel/random.h"
#include "trainer/model/layers.h"
#include "trainer/model/model.h"

namespace dagpam::trainer {

// What the layers of one forward pass share.
struct BlockContext {
  attention::Visibility visibility;         // of self-attention
  attention::Visibility memory_visibility;  // of cross-attention
  std::optional<attention::Rotary> rotary;  // rows of the new tokens' positions; self-attention
  at::Tensor samples;                       // [B] int64
  const DropoutStep* dropout = nullptr;
  parallel::Stream stream = parallel::Stream::kWhole;
  bool recompute_attention = false;  // its inner part
  int64_t first_token = 0;           // of the residual stream that this rank holds
  Observer* observer = nullptr;      // of self-attention
  BlockParts parts = BlockParts::kWhole;
  // Of a block that is computed again; else undefined.
  attention::Lambdas lambdas, cross_lambdas;
};

struct AttentionLayerOptions {
  attention::Options attention;
  bool cross = false;         // keys and values come from a memory
  std::string prefix;         // of parameter names, e.g. "layers.3.attention."
  int64_t dropout_layer = 0;  // of the whole model, for dropout's keys
  std::function<attention::Lambdas()> lambdas;
};

// Keys and values of a memory, [B, M, Hkv, D].
struct KeysValues {
  at::Tensor k, v;
};

class AttentionLayer {
 public:
  AttentionLayer(const configs::ModelConfig& model, AttentionLayerOptions options,
                 parallel::ParameterList& parameters, const TensorParallel& tp);

  // Self-attention. x [B, N, C], or this rank's tokens of it -> the same shape. `cache` is this
  // layer's, or nullptr.
  at::Tensor forward(const at::Tensor& x, const BlockContext& context,
                     attention::KeyValueCache* cache) const;

  // Cross-attention. memory [B, M, C], past parallel::enter_cut_layer.
  KeysValues project(const at::Tensor& memory) const;
  at::Tensor forward(const at::Tensor& x, const BlockContext& context,
                     const KeysValues& memory) const;

  attention::Lambdas lambdas() const { return attention_->lambdas(); }

 private:
  at::Tensor attend(std::vector<at::Tensor> operands, const BlockContext& context,
                    attention::KeyValueCache* cache) const;
  attention::WeightDropout weight_dropout(const BlockContext& context) const;

  AttentionLayerOptions options_;
  parallel::Communicator* tp_;
  int64_t heads_, kv_heads_, query_heads_, head_width_;  // of this rank
  double dropout_;                                       // on weights
  // Self-attention: rows by key-value head: its query heads, its key, its value. Cross-attention:
  // queries, by head; keys and values, by key-value head.
  std::unique_ptr<parallel::ColumnLinear> qkv_, q_, kv_;
  std::unique_ptr<parallel::ColumnLinear> gate_;  // DIFF2's, a number a head
  std::unique_ptr<attention::Attention> attention_;
  std::unique_ptr<parallel::RowLinear> out_;
};

}  // namespace dagpam::trainer

// trainer/model/observer.h: looking into a model while it computes, and looking at a part of it:
// what an analysis asks of a forward pass. Training and evaluation ask for neither.
//
// Legend: B batch, N tokens, M keys, H query heads, C width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "attention/attention.h"

namespace dagpam::trainer {

// Called in the order of the computation. On one rank, without gradients and dropout; attention
// takes its plain path then.
class Observer {
 public:
  virtual ~Observer() = default;

  // The residual stream [B, N, C] after `blocks` blocks; with 0 blocks the embeddings.
  virtual void stream(int64_t blocks, const at::Tensor& x) = 0;

  // Of the block `layer`, counted from 0: its weights, and its answer [B, N, C] after the output
  // projection, before it is added to the stream.
  virtual void attention(int64_t layer, const attention::SeenWeights& weights,
                         const at::Tensor& output) = 0;
};

// Which parts of the blocks a forward pass runs. kNoResidual: y = MLP(norm(A(norm(x)))), no sums;
// kAttentionOnly: y = A(norm(x)), the "pure attention" of Dong, Cordonnier and Loukas 2021 (with
// norms behind in place of before where the model has them there).
enum class BlockParts { kWhole, kNoResidual, kAttentionOnly };

}  // namespace dagpam::trainer

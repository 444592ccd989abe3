#include "trainer/model/block.h"

#include <ATen/ops/add.h>

#include <tuple>
#include <utility>

#include "trainer/model/recompute.h"

namespace dagpam::trainer {

Block::Block(const configs::ModelConfig& model, const BlockOptions& options,
             parallel::ParameterList& parameters, const TensorParallel& tp)
    : dropout_layer_(options.dropout_layer),
      dropout_(model.dropout()),
      pre_norm_(model.norm_position() == configs::ModelConfig::PRE),
      attention_residual_(model.attention_residual()),
      mlp_residual_(model.mlp_residual()),
      attention_norm_(model, options.prefix + "attention_norm.", parameters, tp),
      attention_(model,
                 {.attention = options.attention,
                  .prefix = options.prefix + "attention.",
                  .dropout_layer = options.dropout_layer,
                  .lambdas = options.lambdas},
                 parameters, tp),
      mlp_norm_(model, options.prefix + "mlp_norm.", parameters, tp),
      mlp_(model, options.prefix + "mlp.", parameters, tp) {
  if (!options.cross) return;
  cross_norm_ =
      std::make_unique<Norm>(model, options.prefix + "cross_attention_norm.", parameters, tp);
  cross_ = std::make_unique<AttentionLayer>(
      model,
      AttentionLayerOptions{.attention = *options.cross,
                            .cross = true,
                            .prefix = options.prefix + "cross_attention.",
                            .dropout_layer = options.dropout_layer,
                            .lambdas = options.cross_lambdas},
      parameters, tp);
}

at::Tensor Block::drop(const at::Tensor& x, const BlockContext& context,
                       parallel::DropoutSite site) const {
  if (!context.dropout || dropout_ == 0) return x;
  return parallel::dropout(x, context.samples, dropout_, context.dropout->key(dropout_layer_, site),
                           context.first_token);
}

at::Tensor Block::attended(const at::Tensor& x, const BlockContext& context,
                           attention::KeyValueCache* cache) const {
  return drop(attention_.forward(x, context, cache), context, parallel::DropoutSite::kAttentionOut);
}

at::Tensor Block::read(const at::Tensor& x, const BlockContext& context,
                       const KeysValues& memory) const {
  return drop(cross_->forward(x, context, memory), context,
              parallel::DropoutSite::kCrossAttentionOut);
}

at::Tensor Block::transformed(const at::Tensor& x, const BlockContext& context) const {
  return drop(mlp_.forward(x, context.stream), context, parallel::DropoutSite::kMlpOut);
}

namespace {

at::Tensor sum_or_branch(bool residual, const at::Tensor& stream, const at::Tensor& branch) {
  return residual ? at::add(stream, branch) : branch;
}

// The same sum, and its norm, which the next branch starts from.
std::pair<at::Tensor, at::Tensor> join(bool residual, const Norm& norm, const at::Tensor& stream,
                                       const at::Tensor& branch) {
  if (residual) return norm.forward_sum(stream, branch);
  return {branch, norm.forward(branch)};
}

}  // namespace

at::Tensor Block::normed_before(const at::Tensor& x, const BlockContext& context,
                                attention::KeyValueCache* cache, const KeysValues* memory) const {
  const bool residual = attention_residual_ && context.parts == BlockParts::kWhole;
  at::Tensor stream = x, normed;                                             // [B, N, C] each
  at::Tensor branch = attended(attention_norm_.forward(x), context, cache);  // [B, N, C]
  if (context.parts == BlockParts::kAttentionOnly) return branch;
  if (cross_) {
    std::tie(stream, normed) = join(residual, *cross_norm_, stream, branch);
    branch = read(normed, context, *memory);
  }
  std::tie(stream, normed) = join(residual, mlp_norm_, stream, branch);
  return sum_or_branch(mlp_residual_ && context.parts == BlockParts::kWhole, stream,
                       transformed(normed, context));
}

at::Tensor Block::normed_after(const at::Tensor& x, const BlockContext& context,
                               attention::KeyValueCache* cache, const KeysValues* memory) const {
  const bool residual = attention_residual_ && context.parts == BlockParts::kWhole;
  at::Tensor y = attention_norm_.forward(
      sum_or_branch(residual, x, attended(x, context, cache)));  // [B, N, C]
  if (context.parts == BlockParts::kAttentionOnly) return y;
  if (cross_) y = cross_norm_->forward(sum_or_branch(residual, y, read(y, context, *memory)));
  return mlp_norm_.forward(sum_or_branch(mlp_residual_ && context.parts == BlockParts::kWhole, y,
                                         transformed(y, context)));
}

at::Tensor Block::forward(const at::Tensor& x, const BlockContext& context,
                          attention::KeyValueCache* cache, const KeysValues* memory) const {
  return pre_norm_ ? normed_before(x, context, cache, memory)
                   : normed_after(x, context, cache, memory);
}

namespace {

// One block that backward computes again; what calls may share, the lambdas, are inputs.
at::Tensor run_again(const Block& block, const at::Tensor& x, const BlockContext& context,
                     attention::KeyValueCache* cache, const at::Tensor& memory) {
  std::vector<at::Tensor> inputs{x};
  if (memory.defined()) inputs.push_back(memory);
  const attention::Lambdas own = block.lambdas(), cross = block.cross_lambdas();
  if (own.plus.defined()) inputs.insert(inputs.end(), {own.plus, own.minus});
  if (cross.plus.defined()) inputs.insert(inputs.end(), {cross.plus, cross.minus});
  const bool reads = memory.defined(), has_own = own.plus.defined(),
             has_cross = cross.plus.defined();
  return recomputed(inputs, [=, &block](const std::vector<at::Tensor>& in) {
    BlockContext again = context;
    size_t next = reads ? 2 : 1;
    if (has_own) again.lambdas = {in[next], in[next + 1]}, next += 2;
    if (has_cross) again.cross_lambdas = {in[next], in[next + 1]};
    if (!reads) return block.forward(in[0], again, cache);
    const KeysValues projected = block.project(in[1]);
    return block.forward(in[0], again, cache, &projected);
  });
}

}  // namespace

at::Tensor run_blocks(const std::vector<std::unique_ptr<Block>>& blocks, at::Tensor x,
                      const BlockContext& context, configs::TrainConfig::Recompute recompute,
                      std::vector<attention::KeyValueCache>* caches, const at::Tensor& memory,
                      const std::vector<KeysValues>* projected) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Block& block = *blocks[i];
    if (context.observer != nullptr) context.observer->stream(static_cast<int64_t>(i), x);
    attention::KeyValueCache* cache = caches ? &(*caches)[i] : nullptr;
    if (recompute == configs::TrainConfig::FULL) {
      x = run_again(block, x, context, cache, memory);
    } else if (projected) {
      x = block.forward(x, context, cache, &(*projected)[i]);
    } else if (memory.defined()) {
      const KeysValues read = block.project(memory);
      x = block.forward(x, context, cache, &read);
    } else {
      x = block.forward(x, context, cache);
    }
  }
  if (context.observer != nullptr) {
    context.observer->stream(static_cast<int64_t>(blocks.size()), x);
  }
  return x;
}

}  // namespace dagpam::trainer

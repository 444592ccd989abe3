#include "trainer/model/block.h"

#include <ATen/ops/add.h>

#include <utility>

#include "trainer/model/recompute.h"

namespace dagpam::trainer {

Block::Block(const configs::ModelConfig& model, const BlockOptions& options,
             parallel::ParameterList& parameters, const TensorParallel& tp)
    : dropout_layer_(options.dropout_layer),
      dropout_(model.dropout()),
      pre_norm_(model.norm_position() == configs::ModelConfig::PRE),
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
  const uint64_t key =
      parallel::dropout_key(context.dropout->seed, context.dropout->step, dropout_layer_, site);
  return parallel::dropout(x, context.samples, dropout_, key, context.first_token);
}

at::Tensor Block::without_sums(const at::Tensor& x, const BlockContext& context,
                               attention::KeyValueCache* cache) const {
  const at::Tensor attended = pre_norm_
                                  ? attention_.forward(attention_norm_.forward(x), context, cache)
                                  : attention_norm_.forward(attention_.forward(x, context, cache));
  if (context.parts == BlockParts::kAttentionOnly) return attended;
  return pre_norm_ ? mlp_.forward(mlp_norm_.forward(attended), context.stream)
                   : mlp_norm_.forward(mlp_.forward(attended, context.stream));
}

at::Tensor Block::forward(const at::Tensor& x, const BlockContext& context,
                          attention::KeyValueCache* cache, const KeysValues* memory) const {
  using Site = parallel::DropoutSite;
  if (context.parts != BlockParts::kWhole) return without_sums(x, context, cache);
  const auto attended = [&](const at::Tensor& input) {
    return drop(attention_.forward(input, context, cache), context, Site::kAttentionOut);
  };
  const auto read = [&](const at::Tensor& input) {
    return drop(cross_->forward(input, context, *memory), context, Site::kCrossAttentionOut);
  };
  const auto transformed = [&](const at::Tensor& input) {
    return drop(mlp_.forward(input, context.stream), context, Site::kMlpOut);
  };
  if (!pre_norm_) {
    at::Tensor y = attention_norm_.forward(at::add(x, attended(x)));  // [B, N, C]
    if (cross_) y = cross_norm_->forward(at::add(y, read(y)));
    return mlp_norm_.forward(at::add(y, transformed(y)));
  }
  at::Tensor stream = x, branch = attended(attention_norm_.forward(x));  // [B, N, C] each
  if (cross_) {
    auto [sum, normed] = cross_norm_->forward_sum(stream, branch);
    stream = std::move(sum);
    branch = read(normed);
  }
  const auto [sum, normed] = mlp_norm_.forward_sum(stream, branch);
  return at::add(sum, transformed(normed));
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

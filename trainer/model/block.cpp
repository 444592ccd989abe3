#include "trainer/model/block.h"

#include <ATen/ops/add.h>
#include <ATen/ops/split_with_sizes.h>

#include <utility>
#include <vector>

#include "trainer/model/recompute.h"

namespace dagpam::trainer {

namespace {

std::string prefix_of(int64_t index) { return "layers." + std::to_string(index) + "."; }

}  // namespace

// The projection's rows are grouped by key-value head, so that a cut over heads is one contiguous
// slice.
Block::Block(const configs::ModelConfig& model, const attention::Options& attention, int64_t index,
             parallel::ParameterList& parameters, const TensorParallel& tp,
             std::function<attention::Lambdas()> lambdas)
    : tp_(&tp.group),
      index_(index),
      heads_(attention.heads),
      kv_heads_(attention.kv_heads),
      query_heads_(attention::query_heads(attention)),
      head_width_(attention.head_width),
      dropout_(model.dropout()),
      attention_dropout_(model.attention_dropout()),
      pre_norm_(model.norm_position() == configs::ModelConfig::PRE),
      attention_norm_(model, prefix_of(index) + "attention_norm.", parameters, tp),
      qkv_({model.width(), (query_heads_ + 2 * kv_heads_) * head_width_ * tp.group.size(),
            model.bias(), kWeightDeviation},
           prefix_of(index) + "attention.qkv.", parameters),
      attention_(attention::make_attention(attention, prefix_of(index) + "attention.", parameters,
                                           std::move(lambdas))),
      out_({model.width(), model.width(), model.bias(), residual_deviation(model)},
           prefix_of(index) + "attention.out.", parameters, tp.group, tp.sequence),
      mlp_norm_(model, prefix_of(index) + "mlp_norm.", parameters, tp),
      mlp_(model, prefix_of(index) + "mlp.", parameters, tp) {
  if (attention.kind == attention::Kind::kDiff2) {
    gate_ = std::make_unique<parallel::ColumnLinear>(
        parallel::LinearOptions{model.width(), model.heads(), model.bias(), kWeightDeviation},
        prefix_of(index) + "attention.gate.", parameters);
  }
}

at::Tensor Block::drop(const at::Tensor& x, const BlockContext& context,
                       parallel::DropoutSite site) const {
  if (!context.dropout || dropout_ == 0) return x;
  const uint64_t key =
      parallel::dropout_key(context.dropout->seed, context.dropout->step, index_, site);
  return parallel::dropout(x, context.samples, dropout_, key, context.first_token);
}

at::Tensor Block::attend(const at::Tensor& x, const BlockContext& context,
                         attention::KeyValueCache* cache) const {
  const at::Tensor entered = parallel::enter_cut_layer(x, *tp_, context.stream);  // [B, N, C]
  const int64_t batch = entered.size(0), tokens = entered.size(1);
  const int64_t group = query_heads_ / kv_heads_;
  // [B, N, (Hq + 2 Hkv) D] -> [B, N, Hkv, group + 2, D], then cut into q, k, v along the fourth.
  // Hq is H, or 2 H for DIFF2.
  const at::Tensor qkv =
      qkv_.forward(entered).view({batch, tokens, kv_heads_, group + 2, head_width_});
  const auto parts = at::split_with_sizes(qkv, {group, 1, 1}, 3);
  const at::Tensor q = parts[0].reshape({batch, tokens, query_heads_, head_width_});
  const at::Tensor k = parts[1].squeeze(3), v = parts[2].squeeze(3);  // [B, N, Hkv, D]

  attention::WeightDropout dropout;
  if (context.dropout && attention_dropout_ > 0) {
    dropout.p = attention_dropout_;
    dropout.key = parallel::dropout_key(context.dropout->seed, context.dropout->step, index_,
                                        parallel::DropoutSite::kAttentionWeights);
    dropout.samples = context.samples;
    dropout.head_offset = tp_->rank() * heads_;
  }
  attention::SeenWeights seen;
  attention::SeenWeights* const look = context.observer != nullptr ? &seen : nullptr;
  // in: q, k, v and the gate, where there is one.
  const auto inner = [this, context, dropout, cache, look](const std::vector<at::Tensor>& in,
                                                           const attention::Lambdas& lambdas) {
    // The CPU kernels take float32; bfloat16 is widened on the way in and rounded on the way out.
    // Those of a GPU take it as it is, and sum in float32.
    const at::ScalarType type = in[0].scalar_type();
    const auto wide = [type](const at::Tensor& t) {
      return type == at::kBFloat16 && t.is_cpu() ? t.to(at::kFloat) : t;
    };
    return attention_
        ->forward({.q = wide(in[0]),
                   .k = wide(in[1]),
                   .v = wide(in[2]),
                   .visibility = context.visibility,
                   .gate = in.size() > 3 ? wide(in[3]) : at::Tensor(),
                   .rotary = context.rotary ? &*context.rotary : nullptr,
                   .dropout = dropout.p > 0 ? &dropout : nullptr,
                   .cache = cache,
                   .lambdas = lambdas.plus.defined() ? &lambdas : nullptr,
                   .seen = look})
        .to(type);
  };
  std::vector<at::Tensor> operands{q, k, v};
  if (gate_) operands.push_back(gate_->forward(entered));  // [B, N, H]
  const at::Tensor y = context.recompute_attention ? recomputed(operands, lambdas(), inner)
                                                   : inner(operands, context.lambdas);
  const at::Tensor output =
      out_.forward(y.view({batch, tokens, heads_ * head_width_}), context.stream);
  if (context.observer != nullptr) context.observer->attention(index_, seen, output);
  return output;
}

at::Tensor Block::without_sums(const at::Tensor& x, const BlockContext& context,
                               attention::KeyValueCache* cache) const {
  const at::Tensor attended = pre_norm_ ? attend(attention_norm_.forward(x), context, cache)
                                        : attention_norm_.forward(attend(x, context, cache));
  if (context.parts == BlockParts::kAttentionOnly) return attended;
  return pre_norm_ ? mlp_.forward(mlp_norm_.forward(attended), context.stream)
                   : mlp_norm_.forward(mlp_.forward(attended, context.stream));
}

at::Tensor Block::forward(const at::Tensor& x, const BlockContext& context,
                          attention::KeyValueCache* cache) const {
  if (context.parts != BlockParts::kWhole) return without_sums(x, context, cache);
  const auto attended = [&](const at::Tensor& input) {
    return drop(attend(input, context, cache), context, parallel::DropoutSite::kAttentionOut);
  };
  const auto transformed = [&](const at::Tensor& input) {
    return drop(mlp_.forward(input, context.stream), context, parallel::DropoutSite::kMlpOut);
  };
  if (pre_norm_) {
    const auto [middle, normed] =
        mlp_norm_.forward_sum(x, attended(attention_norm_.forward(x)));  // [B, N, C] each
    return at::add(middle, transformed(normed));
  }
  const at::Tensor middle = attention_norm_.forward(at::add(x, attended(x)));  // [B, N, C]
  return mlp_norm_.forward(at::add(middle, transformed(middle)));
}

}  // namespace dagpam::trainer

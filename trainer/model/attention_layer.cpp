#include "trainer/model/attention_layer.h"

#include <ATen/ops/split_with_sizes.h>

#include <utility>

#include "trainer/model/recompute.h"

namespace dagpam::trainer {

// The projection's rows are grouped by key-value head, so that a cut over heads is one contiguous
// slice.
AttentionLayer::AttentionLayer(const configs::ModelConfig& model, AttentionLayerOptions options,
                               parallel::ParameterList& parameters, const TensorParallel& tp)
    : options_(std::move(options)),
      tp_(&tp.group),
      heads_(options_.attention.heads),
      kv_heads_(options_.attention.kv_heads),
      query_heads_(attention::query_heads(options_.attention)),
      head_width_(options_.attention.head_width),
      dropout_(model.attention_dropout()) {
  const auto projection = [&](int64_t rows, const char* name) {
    return std::make_unique<parallel::ColumnLinear>(
        parallel::LinearOptions{model.width(), rows * tp.group.size(), model.bias(),
                                kWeightDeviation},
        options_.prefix + name, parameters);
  };
  if (options_.cross) {
    q_ = projection(query_heads_ * head_width_, "q.");
    kv_ = projection(2 * kv_heads_ * head_width_, "kv.");
  } else {
    qkv_ = projection((query_heads_ + 2 * kv_heads_) * head_width_, "qkv.");
  }
  if (options_.attention.kind == attention::Kind::kDiff2) gate_ = projection(heads_, "gate.");
  attention_ =
      attention::make_attention(options_.attention, options_.prefix, parameters, options_.lambdas);
  out_ = std::make_unique<parallel::RowLinear>(
      parallel::LinearOptions{model.width(), model.width(), model.bias(),
                              residual_deviation(model)},
      options_.prefix + "out.", parameters, tp.group, tp.sequence);
}

attention::WeightDropout AttentionLayer::weight_dropout(const BlockContext& context) const {
  attention::WeightDropout dropout;
  if (!context.dropout || dropout_ == 0) return dropout;
  dropout.p = dropout_;
  dropout.key = context.dropout->key(options_.dropout_layer,
                                     options_.cross ? parallel::DropoutSite::kCrossAttentionWeights
                                                    : parallel::DropoutSite::kAttentionWeights);
  dropout.samples = context.samples;
  dropout.head_offset = tp_->rank() * heads_;
  return dropout;
}

// operands: q, k, v and the gate, where there is one.
at::Tensor AttentionLayer::attend(std::vector<at::Tensor> operands, const BlockContext& context,
                                  attention::KeyValueCache* cache) const {
  const int64_t batch = operands[0].size(0), tokens = operands[0].size(1);
  const size_t count = operands.size();
  attention::SeenWeights seen;
  attention::SeenWeights* const look = context.observer != nullptr ? &seen : nullptr;
  // Then, where the inner part is computed again, the lambdas, which layers may share.
  const auto inner = [this, context, cache, count, look](const std::vector<at::Tensor>& in) {
    // The CPU kernels take float32; bfloat16 is widened on the way in and rounded on the way out.
    // Those of a GPU take it as it is, and sum in float32.
    const at::ScalarType type = in[0].scalar_type();
    const auto wide = [type](const at::Tensor& t) {
      return type == at::kBFloat16 && t.is_cpu() ? t.to(at::kFloat) : t;
    };
    attention::Lambdas lambdas = options_.cross ? context.cross_lambdas : context.lambdas;
    if (in.size() > count) lambdas = {in[count], in[count + 1]};
    const attention::WeightDropout dropout = weight_dropout(context);
    return attention_
        ->forward({.q = wide(in[0]),
                   .k = wide(in[1]),
                   .v = wide(in[2]),
                   .visibility = options_.cross ? context.memory_visibility : context.visibility,
                   .gate = count > 3 ? wide(in[3]) : at::Tensor(),
                   .rotary = context.rotary && !options_.cross ? &*context.rotary : nullptr,
                   .dropout = dropout.p > 0 ? &dropout : nullptr,
                   .cache = cache,
                   .lambdas = lambdas.plus.defined() ? &lambdas : nullptr,
                   .seen = look})
        .to(type);
  };
  at::Tensor y;  // [B, N, H, D]
  if (context.recompute_attention) {
    const attention::Lambdas own = lambdas();
    if (own.plus.defined()) operands.insert(operands.end(), {own.plus, own.minus});
    y = recomputed(operands, inner);
  } else {
    y = inner(operands);
  }
  const at::Tensor output =
      out_->forward(y.view({batch, tokens, heads_ * head_width_}), context.stream);
  if (context.observer != nullptr) {
    context.observer->attention(options_.attention.layer, seen, output);
  }
  return output;
}

at::Tensor AttentionLayer::forward(const at::Tensor& x, const BlockContext& context,
                                   attention::KeyValueCache* cache) const {
  const at::Tensor entered = parallel::enter_cut_layer(x, *tp_, context.stream);  // [B, N, C]
  const int64_t batch = entered.size(0), tokens = entered.size(1);
  const int64_t group = query_heads_ / kv_heads_;
  // [B, N, (Hq + 2 Hkv) D] -> [B N Hkv, group + 2, D], then cut into q, k, v along the second. Hq
  // is H, or 2 H for DIFF2. Backward joins the three: LibTorch has a kernel for that on GPUs up to
  // four dimensions, and copies one by one above.
  const at::Tensor qkv =
      qkv_->forward(entered).view({batch * tokens * kv_heads_, group + 2, head_width_});
  const auto parts = at::split_with_sizes(qkv, {group, 1, 1}, 1);
  const auto heads = [&](const at::Tensor& part, int64_t count) {
    return part.reshape({batch, tokens, count, head_width_});
  };
  std::vector<at::Tensor> operands{heads(parts[0], query_heads_), heads(parts[1], kv_heads_),
                                   heads(parts[2], kv_heads_)};
  if (gate_) operands.push_back(gate_->forward(entered));  // [B, N, H]
  return attend(std::move(operands), context, cache);
}

KeysValues AttentionLayer::project(const at::Tensor& memory) const {
  const at::Tensor kv = kv_->forward(memory).view(
      {memory.size(0), memory.size(1), kv_heads_, 2, head_width_});  // [B, M, Hkv, 2, D]
  return {kv.select(3, 0), kv.select(3, 1)};
}

at::Tensor AttentionLayer::forward(const at::Tensor& x, const BlockContext& context,
                                   const KeysValues& memory) const {
  const at::Tensor entered = parallel::enter_cut_layer(x, *tp_, context.stream);  // [B, N, C]
  std::vector<at::Tensor> operands{
      q_->forward(entered).view({entered.size(0), entered.size(1), query_heads_, head_width_}),
      memory.k, memory.v};
  if (gate_) operands.push_back(gate_->forward(entered));  // [B, N, H]
  return attend(std::move(operands), context, nullptr);
}

}  // namespace dagpam::trainer

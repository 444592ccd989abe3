#include "trainer/model/transformer_lm.h"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mul.h>

#include <cmath>

#include "parallel/random.h"
#include "trainer/model/block.h"
#include "trainer/model/positions.h"

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::LambdaConfig;
using configs::ModelConfig;
using parallel::Init;

namespace {

attention::Options attention_options(const ModelConfig& model, const AttentionConfig& attention) {
  attention::Options options;
  switch (attention.kind()) {
    case AttentionConfig::SOFTMAX:
      options.kind = attention::Kind::kSoftmax;
      break;
    case AttentionConfig::SOFTMAX_WIDE:
      options.kind = attention::Kind::kSoftmaxWide;
      break;
    case AttentionConfig::DAGPAM:
      options.kind = attention::Kind::kDagpam;
      break;
  }
  options.heads = model.heads();
  options.kv_heads = model.kv_heads();
  options.head_width = model.width() / model.heads();
  options.reference = attention.path() == AttentionConfig::REFERENCE;
  return options;
}

attention::LambdaOptions lambda_options(const LambdaConfig& config) {
  using Scope = attention::LambdaOptions::Scope;
  using Squash = attention::LambdaOptions::Squash;
  attention::LambdaOptions options;
  options.trained = config.mode() == LambdaConfig::TRAINED;
  options.plus = config.plus();
  options.minus = config.minus();
  options.scope = config.scope() == LambdaConfig::MODEL   ? Scope::kModel
                  : config.scope() == LambdaConfig::LAYER ? Scope::kLayer
                                                          : Scope::kHead;
  options.squash = config.squash() == LambdaConfig::SIGMOID    ? Squash::kSigmoid
                   : config.squash() == LambdaConfig::SOFTPLUS ? Squash::kSoftplus
                                                               : Squash::kNone;
  return options;
}

}  // namespace

TransformerLm::TransformerLm(const ModelConfig& model, const AttentionConfig& attention)
    : model_(model) {
  const int64_t width = model.width(), context = model.context();
  token_embedding_ = parameters_.add("embedding.token.weight", {model.vocab(), width},
                                     Init::normal(kWeightDeviation));
  if (model.positions() == ModelConfig::LEARNED) {
    position_embedding_ = parameters_.add("embedding.position.weight", {context, width},
                                          Init::normal(kWeightDeviation));
  } else if (model.positions() == ModelConfig::SINUSOIDAL) {
    sinusoids_ = sinusoidal_table(context, width);
  } else if (model.positions() == ModelConfig::ROTARY) {
    rotary_ = rotary_table(context, width / model.heads(), model.rotary_base());
  }
  if (attention.kind() == AttentionConfig::DAGPAM) {
    lambdas_ = std::make_unique<attention::LambdaBank>(lambda_options(attention.lambda()),
                                                       model.layers(), model.heads(), parameters_);
  }
  const attention::Options options = attention_options(model, attention);
  for (int64_t i = 0; i < model.layers(); ++i) {
    auto lambdas = [this, i] { return lambdas_->layer(i); };
    blocks_.push_back(std::make_unique<Block>(model, options, i, parameters_, lambdas));
  }
  if (model.norm_position() == ModelConfig::PRE) {
    final_norm_ = std::make_unique<Norm>(model, "norm.", parameters_);
  }
  if (!model.tied_embeddings()) {
    output_ = std::make_unique<Linear>(Linear::Options{width, model.vocab(), false}, "output.",
                                       parameters_);
  }
}

TransformerLm::~TransformerLm() = default;

at::Tensor TransformerLm::embed(const ForwardInput& input, const at::Tensor& positions) const {
  at::Tensor x = at::embedding(token_embedding_->value, input.tokens);  // [B, N, C]
  if (position_embedding_) {
    x = at::add(x, at::embedding(position_embedding_->value, positions));  // [N, C] or [B, N, C]
  } else if (sinusoids_.defined()) {
    // Vaswani et al. scale the embedding so that the sinusoids, of size 1, do not drown it.
    x = at::add(at::mul(x, std::sqrt(static_cast<double>(model_.width()))),
                at::embedding(sinusoids_, positions));
  }
  if (!input.dropout || model_.dropout() == 0) return x;
  const uint64_t key = parallel::dropout_key(input.dropout->seed, input.dropout->step, 0,
                                             parallel::DropoutSite::kEmbedding);
  return parallel::dropout(x, input.samples, model_.dropout(), key);
}

at::Tensor TransformerLm::hidden(const ForwardInput& input) const {
  const int64_t tokens = input.tokens.size(1);
  const int64_t past = input.caches ? input.caches->front().length : 0;
  TORCH_CHECK(past + tokens <= model_.context(), "sequence of ", past + tokens,
              " tokens is longer than the model's context of ", model_.context());
  const at::Tensor positions = input.positions.defined()
                                   ? input.positions
                                   : at::arange(past, past + tokens, input.tokens.options());
  BlockContext context;
  context.visibility.causal = true;
  context.visibility.begin = input.key_begin;
  context.samples = input.samples;
  context.dropout = input.dropout;
  attention::Rotary rotary;
  if (rotary_.cos.defined()) {
    rotary = rotary_at(rotary_, positions);
    context.rotary = &rotary;
  }
  at::Tensor x = embed(input, positions);  // [B, N, C]
  for (size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i]->forward(x, context, input.caches ? &(*input.caches)[i] : nullptr);
  }
  return final_norm_ ? final_norm_->forward(x) : x;
}

at::Tensor TransformerLm::logits(const at::Tensor& hidden) const {
  return output_ ? output_->forward(hidden) : at::linear(hidden, token_embedding_->value);
}

at::Tensor TransformerLm::loss_sum(const ForwardInput& input, const at::Tensor& targets) const {
  const at::Tensor scores = logits(hidden(input));  // [B, N, V]
  return at::cross_entropy_loss(scores.view({-1, scores.size(2)}), targets.reshape({-1}),
                                /*weight=*/{}, at::Reduction::Sum);
}

}  // namespace dagpam::trainer

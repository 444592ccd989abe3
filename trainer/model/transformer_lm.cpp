#include "trainer/model/transformer_lm.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/mul.h>

#include <cmath>

#include "parallel/embedding.h"
#include "parallel/random.h"
#include "trainer/model/attention_options.h"
#include "trainer/model/block.h"
#include "trainer/model/positions.h"
#include "trainer/model/token_losses.h"

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::ModelConfig;
using parallel::Init;

TransformerLm::TransformerLm(const ModelConfig& model, const AttentionConfig& attention,
                             const TensorParallel& tp, at::ScalarType type)
    : Model(model, tp, type) {
  const int64_t width = model.width(), context = model.context();
  token_embedding_ = std::make_unique<parallel::VocabularyTable>(
      model.vocab(), width, kWeightDeviation, "embedding.token.weight", parameters_, tp.group);
  if (model.positions() == ModelConfig::LEARNED) {
    position_embedding_ =
        parameters_.add("embedding.position.weight", {context, width},
                        Init::normal(kWeightDeviation), {.partial_gradient = tp.sequence});
  } else if (model.positions() == ModelConfig::SINUSOIDAL) {
    sinusoids_ = sinusoidal_table(context, width).to(type);
  } else if (model.positions() == ModelConfig::ROTARY) {
    rotary_ = rotary_table(context, width / model.heads(), model.rotary_base());
  }
  if (attention.kind() == AttentionConfig::DAGPAM) {
    lambdas_ =
        std::make_unique<attention::LambdaBank>(lambda_options(attention.lambda()), model.layers(),
                                                model.heads() / tp.group.size(), parameters_);
  }
  for (int64_t i = 0; i < model.layers(); ++i) {
    const BlockOptions options{
        .prefix = "layers." + std::to_string(i) + ".",
        .dropout_layer = i,
        .attention = attention_options(model, attention, i, model.layers(), tp.group.size()),
        .lambdas = [this, i] { return lambdas_->layer(i); }};
    blocks_.push_back(std::make_unique<Block>(model, options, parameters_, tp_));
  }
  if (model.norm_position() == ModelConfig::PRE) {
    final_norm_ = std::make_unique<Norm>(model, "norm.", parameters_, tp_);
  }
  if (!model.tied_embeddings()) {
    output_ = std::make_unique<parallel::VocabularyTable>(model.vocab(), width, kWeightDeviation,
                                                          "output.weight", parameters_, tp.group);
  }
}

TransformerLm::~TransformerLm() = default;

void TransformerLm::move_to(at::Device device) {
  parameters_.move_to(device);
  for (at::Tensor* table : {&sinusoids_, &rotary_.cos, &rotary_.sin}) {
    if (table->defined()) *table = table->to(device);
  }
  if (lambdas_) lambdas_->move_to(device);
}

// Where the tokens do not divide (the tail of an evaluation) or come one by one (generation), every
// rank holds them all.
parallel::Stream TransformerLm::stream_of(const ForwardInput& input) const {
  const int64_t ranks = tp_.group.size();
  if (!tp_.sequence || ranks == 1) return parallel::Stream::kWhole;
  if (!input.caches && input.tokens.size(1) % ranks == 0) return parallel::Stream::kOwnTokens;
  TORCH_CHECK(!at::GradMode::is_enabled(), "training on ", input.tokens.size(1),
              " tokens, which do not divide over the ", ranks, " ranks of a sequence");
  return parallel::Stream::kWhole;
}

at::Tensor TransformerLm::embed(const ForwardInput& input, const at::Tensor& positions,
                                const BlockContext& context) const {
  at::Tensor x = token_embedding_->embed(input.tokens, context.stream);  // [B, N, C] or own tokens
  const at::Tensor own =
      positions.narrow(positions.dim() - 1, context.first_token, x.size(1));  // [N] or [B, N]
  if (position_embedding_) {
    x = at::add(x, parallel::embedding(position_embedding_->ready(), own));  // [N, C] or [B, N, C]
  } else if (sinusoids_.defined()) {
    // Vaswani et al. scale the embedding so that the sinusoids, of size 1, do not drown it.
    x = at::add(at::mul(x, std::sqrt(static_cast<double>(model_.width()))),
                at::embedding(sinusoids_, own));
  }
  if (!input.dropout || model_.dropout() == 0) return x;
  const parallel::DropoutKey key = input.dropout->key(0, parallel::DropoutSite::kEmbedding);
  return parallel::dropout(x, input.samples, model_.dropout(), key, context.first_token);
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
  context.visibility.causal = input.causal;
  context.visibility.begin = input.key_begin;
  context.samples = input.samples;
  context.dropout = input.dropout;
  context.observer = input.observer;
  context.parts = input.parts;
  context.stream = stream_of(input);
  if (context.stream == parallel::Stream::kOwnTokens) {
    context.first_token = tp_.group.rank() * (tokens / tp_.group.size());
  }
  context.recompute_attention = input.recompute == configs::TrainConfig::SELECTIVE;
  if (rotary_.cos.defined()) context.rotary = rotary_at(rotary_, positions);
  at::Tensor x = embed(input, positions, context);  // [B, N, C] or own tokens, as in every block
  x = run_blocks(blocks_, x, context, input.recompute, input.caches);
  if (final_norm_) x = final_norm_->forward(x);
  return parallel::enter_cut_layer(x, tp_.group, context.stream);  // [B, N, C]
}

attention::Lambdas TransformerLm::lambdas(int64_t index) const {
  return lambdas_ ? lambdas_->layer(index) : attention::Lambdas{};
}

at::Tensor TransformerLm::logits(const at::Tensor& hidden) const {
  return (output_ ? output_ : token_embedding_)->logits(hidden);
}

at::Tensor TransformerLm::losses(const ForwardInput& input, const at::Tensor& targets,
                                 int64_t first, double smoothing) const {
  return token_losses(hidden(input), targets, first, smoothing,
                      output_ ? *output_ : *token_embedding_, tp_.group);
}

}  // namespace dagpam::trainer

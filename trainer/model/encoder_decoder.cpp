#include "trainer/model/encoder_decoder.h"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>

#include <cmath>

#include "parallel/embedding.h"
#include "parallel/random.h"
#include "trainer/model/attention_options.h"
#include "trainer/model/positions.h"
#include "trainer/model/token_losses.h"

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::ModelConfig;
using parallel::Init;

namespace {

// All queries of a row see the row's first `lengths` [B] int32 keys.
attention::Visibility whole_rows(const at::Tensor& lengths, int64_t queries) {
  attention::Visibility visibility;
  visibility.causal = false;
  visibility.end = lengths.unsqueeze(1).expand({lengths.size(0), queries}).contiguous();
  return visibility;
}

}  // namespace

EncoderDecoder::EncoderDecoder(const configs::RunConfig& config, const TensorParallel& tp,
                               at::ScalarType type)
    : Model(config.model(), tp, type) {
  const ModelConfig& m = config.model();
  const int64_t ranks = tp.group.size();
  if (m.positions() == ModelConfig::SINUSOIDAL) {
    sinusoids_ = sinusoidal_table(m.context(), m.width()).to(type);
  } else if (m.positions() == ModelConfig::ROTARY) {
    rotary_ = rotary_table(m.context(), m.width() / m.heads(), m.rotary_base());
  }
  add_side("encoder.", true, source_);
  encoder_lambdas_ = make_lambdas(config.encoder_attention(), m.encoder_layers(),
                                  {"encoder.lambda_", "encoder.layers.", ".attention.lambda_"});
  for (int64_t i = 0; i < m.encoder_layers(); ++i) {
    const BlockOptions options{
        .prefix = "encoder.layers." + std::to_string(i) + ".",
        .dropout_layer = i,
        .attention = attention_options(m, config.encoder_attention(), i, m.encoder_layers(), ranks),
        .lambdas = [this, i] { return encoder_lambdas_->layer(i); }};
    encoder_.push_back(std::make_unique<Block>(m, options, parameters_, tp_));
  }
  add_side("decoder.", !m.shared_embeddings(), target_);
  target_.dropout_layer = m.encoder_layers();
  lambdas_ = make_lambdas(config.attention(), m.layers(),
                          {"decoder.lambda_", "decoder.layers.", ".attention.lambda_"});
  cross_lambdas_ =
      make_lambdas(config.cross_attention(), m.layers(),
                   {"decoder.cross_lambda_", "decoder.layers.", ".cross_attention.lambda_"});
  for (int64_t i = 0; i < m.layers(); ++i) {
    const BlockOptions options{
        .prefix = "decoder.layers." + std::to_string(i) + ".",
        .dropout_layer = m.encoder_layers() + i,
        .attention = attention_options(m, config.attention(), i, m.layers(), ranks),
        .lambdas = [this, i] { return lambdas_->layer(i); },
        .cross = attention_options(m, config.cross_attention(), i, m.layers(), ranks),
        .cross_lambdas = [this, i] { return cross_lambdas_->layer(i); }};
    decoder_.push_back(std::make_unique<Block>(m, options, parameters_, tp_));
  }
  if (!m.tied_embeddings()) {
    output_ = std::make_unique<parallel::VocabularyTable>(m.vocab(), m.width(), kWeightDeviation,
                                                          "output.weight", parameters_, tp.group);
  }
}

EncoderDecoder::~EncoderDecoder() = default;

void EncoderDecoder::add_side(const std::string& prefix, bool own_embedding, Side& side) {
  if (own_embedding) {
    side.embedding = std::make_unique<parallel::VocabularyTable>(
        model_.vocab(), model_.width(), kWeightDeviation, prefix + "embedding.token.weight",
        parameters_, tp_.group);
  }
  if (model_.positions() == ModelConfig::LEARNED) {
    side.positions =
        parameters_.add(prefix + "embedding.position.weight", {model_.context(), model_.width()},
                        Init::normal(kWeightDeviation));
  }
  if (model_.norm_position() == ModelConfig::PRE) {
    side.norm = std::make_unique<Norm>(model_, prefix + "norm.", parameters_, tp_);
  }
}

std::unique_ptr<attention::LambdaBank> EncoderDecoder::make_lambdas(
    const AttentionConfig& attention, int64_t layers, const attention::LambdaNames& names) {
  if (attention.kind() != AttentionConfig::DAGPAM) return nullptr;
  return std::make_unique<attention::LambdaBank>(lambda_options(attention.lambda(), names), layers,
                                                 model_.heads() / tp_.group.size(), parameters_);
}

void EncoderDecoder::move_to(at::Device device) {
  parameters_.move_to(device);
  for (at::Tensor* table : {&sinusoids_, &rotary_.cos, &rotary_.sin}) {
    if (table->defined()) *table = table->to(device);
  }
  for (const auto* bank : {&encoder_lambdas_, &lambdas_, &cross_lambdas_}) {
    if (*bank) (*bank)->move_to(device);
  }
}

at::Tensor EncoderDecoder::embed(const Side& side, const at::Tensor& tokens, int64_t past,
                                 const BlockContext& context) const {
  const auto& table = side.embedding ? *side.embedding : *source_.embedding;
  at::Tensor x = table.embed(tokens, context.stream);  // [B, N, C]
  const at::Tensor positions = at::arange(past, past + tokens.size(1), tokens.options());  // [N]
  if (side.positions) {
    x = at::add(x, parallel::embedding(side.positions->ready(), positions));
  } else if (sinusoids_.defined()) {
    // Vaswani et al. scale the embedding so that the sinusoids, of size 1, do not drown it.
    x = at::add(at::mul(x, std::sqrt(static_cast<double>(model_.width()))),
                at::embedding(sinusoids_, positions));
  }
  if (!context.dropout || model_.dropout() == 0) return x;
  const parallel::DropoutKey key =
      context.dropout->key(side.dropout_layer, parallel::DropoutSite::kEmbedding);
  return parallel::dropout(x, context.samples, model_.dropout(), key, 0);
}

BlockContext EncoderDecoder::context_of(const ForwardInput& input) const {
  BlockContext context;
  context.samples = input.samples;
  context.dropout = input.dropout;
  context.recompute_attention = input.recompute == configs::TrainConfig::SELECTIVE;
  return context;
}

at::Tensor EncoderDecoder::encode(const ForwardInput& input) const {
  const int64_t tokens = input.source.size(1);
  TORCH_CHECK(tokens <= model_.context(), "source of ", tokens,
              " tokens is longer than the model's context of ", model_.context());
  BlockContext context = context_of(input);
  context.visibility = whole_rows(input.source_lengths, tokens);
  if (rotary_.cos.defined()) {
    context.rotary = rotary_at(rotary_, at::arange(tokens, input.source.options()));
  }
  at::Tensor x = embed(source_, input.source, 0, context);  // [B, S, C]
  x = run_blocks(encoder_, x, context, input.recompute);
  return source_.norm ? source_.norm->forward(x) : x;
}

at::Tensor EncoderDecoder::decode(const at::Tensor& tokens, const at::Tensor& source_lengths,
                                  const BlockContext& given,
                                  configs::TrainConfig::Recompute recompute,
                                  std::vector<attention::KeyValueCache>* caches,
                                  const at::Tensor& memory,
                                  const std::vector<KeysValues>* projected) const {
  const int64_t count = tokens.size(1), past = caches ? caches->front().length : 0;
  TORCH_CHECK(past + count <= model_.context(), "target of ", past + count,
              " tokens is longer than the model's context of ", model_.context());
  BlockContext context = given;
  context.visibility.causal = true;  // padding stands behind all that is predicted
  context.memory_visibility = whole_rows(source_lengths, count);
  if (rotary_.cos.defined()) {
    context.rotary = rotary_at(rotary_, at::arange(past, past + count, tokens.options()));
  }
  at::Tensor x = embed(target_, tokens, past, context);  // [B, N, C]
  x = run_blocks(decoder_, x, context, recompute, caches, memory, projected);
  if (target_.norm) x = target_.norm->forward(x);
  return parallel::enter_cut_layer(x, tp_.group, context.stream);
}

EncoderDecoder::Memory EncoderDecoder::remember(const at::Tensor& encoded,
                                                const at::Tensor& source_lengths) const {
  Memory memory;
  memory.source_lengths = source_lengths;
  for (const auto& block : decoder_) memory.layers.push_back(block->project(encoded));
  return memory;
}

EncoderDecoder::Memory EncoderDecoder::Memory::rows(const at::Tensor& rows) const {
  Memory memory;
  memory.source_lengths = at::index_select(source_lengths, 0, rows);
  for (const KeysValues& layer : layers) {
    memory.layers.push_back(
        {at::index_select(layer.k, 0, rows), at::index_select(layer.v, 0, rows)});
  }
  return memory;
}

at::Tensor EncoderDecoder::decode(const at::Tensor& tokens, const Memory& memory,
                                  std::vector<attention::KeyValueCache>& caches) const {
  return decode(tokens, memory.source_lengths, {}, configs::TrainConfig::NONE, &caches, {},
                &memory.layers);
}

const parallel::VocabularyTable& EncoderDecoder::output() const {
  if (output_) return *output_;
  return target_.embedding ? *target_.embedding : *source_.embedding;
}

at::Tensor EncoderDecoder::logits(const at::Tensor& hidden) const {
  return output().logits(hidden);
}

at::Tensor EncoderDecoder::losses(const ForwardInput& input, const at::Tensor& targets,
                                  int64_t first, double smoothing) const {
  // Read by every decoder layer: their gradients are summed before the ranks' are.
  const at::Tensor memory =
      parallel::enter_cut_layer(encode(input), tp_.group, parallel::Stream::kWhole);  // [B, S, C]
  const at::Tensor hidden = decode(input.tokens, input.source_lengths, context_of(input),
                                   input.recompute, nullptr, memory, nullptr);  // [B, N, C]
  return token_losses(hidden, targets, first, smoothing, output(), tp_.group);
}

}  // namespace dagpam::trainer

#include "trainer/model/attention_options.h"

#include "trainer/parameter_counts.h"

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::LambdaConfig;
using configs::ModelConfig;

namespace {

attention::Kind attention_kind(AttentionConfig::Kind kind) {
  switch (kind) {
    case AttentionConfig::SOFTMAX:
      return attention::Kind::kSoftmax;
    case AttentionConfig::SOFTMAX_WIDE:
      return attention::Kind::kSoftmaxWide;
    case AttentionConfig::DAGPAM:
      return attention::Kind::kDagpam;
    case AttentionConfig::NON:
      return attention::Kind::kNon;
    case AttentionConfig::NAP:
      return attention::Kind::kNap;
    case AttentionConfig::CODA:
      return attention::Kind::kCoda;
    case AttentionConfig::COG:
      return attention::Kind::kCog;
    case AttentionConfig::DIFF:
      return attention::Kind::kDiff;
    case AttentionConfig::DIFF2:
      return attention::Kind::kDiff2;
  }
  return attention::Kind::kSoftmax;
}

}  // namespace

attention::Options attention_options(const ModelConfig& model, const AttentionConfig& attention,
                                     int64_t index, int64_t layers, int64_t ranks) {
  attention::Options options;
  options.kind = attention_kind(layer_attention(attention, index, layers));
  options.heads = model.heads() / ranks;
  options.kv_heads = model.kv_heads() / ranks;
  options.head_width = model.width() / model.heads();
  options.layer = index;
  options.reference = attention.path() == AttentionConfig::REFERENCE;
  if (attention.path() == AttentionConfig::COMPOSED) options.gpu = attention::GpuPath::kComposed;
  if (attention.path() == AttentionConfig::FUSED) options.gpu = attention::GpuPath::kFused;
  return options;
}

attention::LambdaOptions lambda_options(const LambdaConfig& config,
                                        const attention::LambdaNames& names) {
  using Scope = attention::LambdaOptions::Scope;
  using Squash = attention::LambdaOptions::Squash;
  attention::LambdaOptions options;
  options.names = names;
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

}  // namespace dagpam::trainer

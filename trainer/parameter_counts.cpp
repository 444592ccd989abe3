#include "trainer/parameter_counts.h"

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::LambdaConfig;
using configs::ModelConfig;
using configs::RunConfig;

namespace {

// Of one rank: heads and hidden channels are cut over `tp`, the rest is whole.
struct Extents {
  Extents(const ModelConfig& m, int tp)
      : width(m.width()),
        head(m.width() / m.heads()),
        heads(m.heads() / tp),
        kv_heads(m.kv_heads() / tp),
        hidden(m.mlp_width() / tp),
        ins(m.mlp() == ModelConfig::SWIGLU ? 2 : 1),
        bias(m.bias() ? 1 : 0),
        norm(m.width() * (m.norm() == ModelConfig::LAYER ? 1 + bias : 1)) {}
  int64_t width, head, heads, kv_heads, hidden, ins, bias, norm;
};

struct Elements {
  int64_t in_matmuls = 0, others = 0;
  Elements operator+(const Elements& b) const {
    return {in_matmuls + b.in_matmuls, others + b.others};
  }
  Elements operator*(int64_t n) const { return {n * in_matmuls, n * others}; }
};

// Elements of the parameters that are no projections; lambdas of DAGPAM are lambda_elements'.
int64_t own_elements(AttentionConfig::Kind kind, const Extents& x) {
  if (has_query_map(kind)) return x.heads * x.head * x.head;
  if (kind == AttentionConfig::NAP) return 2 * x.heads;
  return kind == AttentionConfig::DIFF ? 6 * x.head : 0;
}

// An attention layer and its norm.
Elements attention_elements(AttentionConfig::Kind kind, const Extents& x) {
  int64_t rows = (x.heads + 2 * x.kv_heads) * x.head;  // queries, keys, values, gates
  if (kind == AttentionConfig::DIFF2) rows += x.heads * (x.head + 1);
  return {x.width * (rows + x.heads * x.head),
          x.bias * (rows + x.width) + own_elements(kind, x) + x.norm};
}

// An MLP and its norm.
Elements mlp_elements(const Extents& x) {
  return {(x.ins + 1) * x.width * x.hidden, x.bias * (x.ins * x.hidden + x.width) + x.norm};
}

int64_t lambda_elements(const AttentionConfig& attention, int64_t layers, int64_t heads) {
  const LambdaConfig& lambda = attention.lambda();
  if (attention.kind() != AttentionConfig::DAGPAM || lambda.mode() != LambdaConfig::TRAINED) {
    return 0;
  }
  return lambda.scope() == LambdaConfig::MODEL   ? 2
         : lambda.scope() == LambdaConfig::LAYER ? 2 * layers
                                                 : 2 * layers * heads;
}

// All but the tables of tokens.
Elements stack_elements(const RunConfig& config, int tp) {
  const ModelConfig& m = config.model();
  const Extents x(m, tp);
  const int64_t ends = (m.norm_position() == ModelConfig::PRE ? x.norm : 0) +
                       (m.positions() == ModelConfig::LEARNED ? m.context() * x.width : 0);
  const auto side = [&](const AttentionConfig& attention, int64_t layers) {
    return attention_elements(attention.kind(), x) * layers +
           Elements{0, lambda_elements(attention, layers, x.heads)};
  };
  Elements all =
      side(config.attention(), m.layers()) + mlp_elements(x) * m.layers() + Elements{0, ends};
  if (m.kind() == ModelConfig::ENCODER_DECODER) {
    all = all + side(config.cross_attention(), m.layers()) +
          side(config.encoder_attention(), m.encoder_layers()) +
          mlp_elements(x) * m.encoder_layers() + Elements{0, ends};
  }
  return all;
}

int64_t tables(const ModelConfig& m) {
  const bool two = m.kind() == ModelConfig::ENCODER_DECODER && !m.shared_embeddings();
  return (two ? 2 : 1) + (m.tied_embeddings() ? 0 : 1);
}

}  // namespace

AttentionConfig::Kind layer_attention(const AttentionConfig& attention, int64_t index,
                                      int64_t layers) {
  const bool end = index == 0 || index == layers - 1;
  return attention.kind() == AttentionConfig::COG && end ? AttentionConfig::SOFTMAX
                                                         : attention.kind();
}

bool has_query_map(AttentionConfig::Kind kind) {
  return kind == AttentionConfig::SOFTMAX_WIDE || kind == AttentionConfig::DAGPAM;
}

int64_t rank_elements(const RunConfig& config, int tp) {
  const ModelConfig& m = config.model();
  const Elements stacks = stack_elements(config, tp);
  return stacks.in_matmuls + stacks.others + tables(m) * ((m.vocab() + tp - 1) / tp) * m.width();
}

ParameterCounts count_parameters(const RunConfig& config) {
  const ModelConfig& m = config.model();
  return {rank_elements(config, 1), stack_elements(config, 1).in_matmuls + m.vocab() * m.width()};
}

int optimizer_moments(const configs::OptimizerConfig& optimizer) {
  if (optimizer.kind() == configs::OptimizerConfig::ADAMW) return 2;
  return optimizer.momentum() != 0 ? 1 : 0;
}

double flops_per_token(const RunConfig& config) {
  const ModelConfig& m = config.model();
  const double products = 6 * static_cast<double>(count_parameters(config).in_matmuls);
  if (m.kind() == ModelConfig::ENCODER_DECODER) return products;
  const auto kind = config.attention().kind();
  const double layer_width = static_cast<double>(m.layers()) * static_cast<double>(m.width());
  const bool two = kind == AttentionConfig::DAGPAM || kind == AttentionConfig::DIFF2;
  double flops = products + (two ? 10 : 6) * layer_width * static_cast<double>(m.context());
  if (has_query_map(kind)) {
    flops += 6 * layer_width * static_cast<double>(m.width() / m.heads());
  }
  return flops;
}

}  // namespace dagpam::trainer

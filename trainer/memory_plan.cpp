#include "trainer/memory_plan.h"

#include <algorithm>

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::LambdaConfig;
using configs::ModelConfig;
using configs::RunConfig;

namespace {

int64_t lambda_elements(const RunConfig& config, int64_t heads) {
  const LambdaConfig& lambda = config.attention().lambda();
  if (config.attention().kind() != AttentionConfig::DAGPAM ||
      lambda.mode() != LambdaConfig::TRAINED) {
    return 0;
  }
  const int64_t layers = config.model().layers();
  return lambda.scope() == LambdaConfig::MODEL   ? 2
         : lambda.scope() == LambdaConfig::LAYER ? 2 * layers
                                                 : 2 * layers * heads;
}

constexpr double kFloat = 4;

bool in_bf16(const RunConfig& config) {
  return config.train().precision() == configs::TrainConfig::BF16;
}

// Bytes of a number of weights and activations.
double number_bytes(const RunConfig& config) { return in_bf16(config) ? 2 : kFloat; }

// What a GPU's attention (attention/composed.h) keeps of a token and layer beside queries, keys and
// values, in numbers of the weights' type: ReLU(Q); of daGPAM the queries of both maps and both
// answers; of SOFTMAX_WIDE the mapped queries. With rotary positions the rotated keys too, and
// the rotated queries where they are not among these.
double kept_on_gpu(const RunConfig& config, double width, double keys) {
  const auto kind = config.attention().kind();
  const bool rotary = config.model().positions() == ModelConfig::ROTARY;
  double numbers = rotary ? keys : 0;
  if (kind == AttentionConfig::DAGPAM) return numbers + 5 * width;
  if (kind == AttentionConfig::SOFTMAX_WIDE) numbers += 2 * width;
  return numbers + (rotary && kind != AttentionConfig::SOFTMAX_WIDE ? width : 0);
}

// Matrices of queries times keys, in float32, that a layer's backward has at once at most, where no
// kernel spares them (attention/weighting.h): counted in the running program.
double matrices_at_once(const RunConfig& config) {
  const int64_t softmax_layers = 2;  // of COG
  switch (config.attention().kind()) {
    case AttentionConfig::NON:
      return config.model().attention_dropout() > 0 ? 3 : 2;
    case AttentionConfig::NAP:
    case AttentionConfig::CODA:
      return 7;
    case AttentionConfig::COG:
      return config.model().layers() > softmax_layers ? 6 : 0;
    default:
      return 0;
  }
}

// Numbers a token of the gradients that a layer's attention has at once in backward, where a kernel
// serves it: those of its answers and of what it was given. By the time of the latter DIFF and DIFF2
// have let go of the answers of their maps.
double gradients_in_attention(const RunConfig& config) {
  const ModelConfig& m = config.model();
  const auto width = static_cast<double>(m.width());
  const double keys = static_cast<double>(m.kv_heads()) * width / static_cast<double>(m.heads());
  switch (config.attention().kind()) {
    case AttentionConfig::SOFTMAX:
    case AttentionConfig::SOFTMAX_WIDE:
      return 2 * width + 2 * keys;
    case AttentionConfig::DAGPAM:
      return 3 * width + 2 * keys;
    case AttentionConfig::DIFF:
      return std::max(2 * width, 4 * keys);
    case AttentionConfig::DIFF2:
      return std::max(3 * width, 2 * width + 2 * keys);
    default:
      return 0;
  }
}

// Bytes that backward needs of one token of one layer, on a rank.
struct LayerBytes {
  double kept = 0;      // from forward to backward
  double computed = 0;  // by the recomputation of that layer, on top
};

LayerBytes layer_bytes(const RunConfig& config, double tp, bool sequence, bool on_gpu) {
  const ModelConfig& m = config.model();
  const auto width = static_cast<double>(m.width()), heads = static_cast<double>(m.heads());
  const double keys = static_cast<double>(m.kv_heads()) * width / heads;
  const double stream = sequence ? width / tp : width;  // of the residual stream
  const double hidden = static_cast<double>(m.mlp_width()) / tp;
  const auto kind = config.attention().kind();
  const bool two = kind == AttentionConfig::DAGPAM;
  const bool mapped = has_query_map(kind);
  const bool rotary = m.positions() == ModelConfig::ROTARY;
  const double number = number_bytes(config);

  // Both norms, of each its input, mean and 1 / deviation; what they give, gathered, is the input
  // of the cut layers.
  double outer = 2 * (number * (stream + width) + 2 * kFloat * stream / width);
  outer += number * width / tp;  // y
  // What goes into the activation, which backward makes again.
  outer += number * (m.mlp() == ModelConfig::SWIGLU ? 2 : 1) * hidden;
  // Within a CPU's attention, in float32: queries, keys, values; log-sum-exps, mapped queries;
  // rotated queries and keys.
  double operands = (width + 2 * keys) / tp;
  double within = on_gpu ? number : kFloat;
  double inner = kFloat * (two ? 2 : matrices_at_once(config) > 0 ? 0 : 1) * heads / tp;
  if (on_gpu) {
    inner += number * kept_on_gpu(config, width, keys) / tp;
  } else {
    if (mapped) inner += kFloat * width / tp;
    if (rotary) inner += kFloat * (width + keys + (two ? width : 0)) / tp;
  }
  // Queries that share a key-value head do not lie apart like heads: they are copied, while what
  // they were cut from lives on with the values.
  const double queries = kind == AttentionConfig::DIFF2 ? 2 * width : width;
  const double copy = queries > keys ? number * queries / tp : 0;
  const bool kept_copy = !rotary && within == number && kind != AttentionConfig::DIFF;
  if (kind == AttentionConfig::DIFF2) {
    // The queries and answers of both maps, rotated ones again, log-sum-exps, gates.
    operands += width / tp;
    inner += (within * ((rotary ? 3 : 2) * width + heads) + kFloat * heads) / tp;
  }
  if (kind == AttentionConfig::DIFF) {
    // In place of the operands copies twice their size, of both maps; their answers; what the norm
    // keeps: its input twice, a number a pair.
    inner =
        (within * (2 * (width + 2 * keys) + 2 * width) + kFloat * (2 * width + 2.5 * heads)) / tp;
    within = 0;
  }
  switch (config.train().recompute()) {
    case configs::TrainConfig::NONE:
      return {outer + within * operands + inner + (kept_copy ? copy : 0), 0};
    case configs::TrainConfig::SELECTIVE:
      return {outer + number * operands + copy, inner + (within > number ? kFloat * operands : 0)};
    case configs::TrainConfig::FULL:
      return {number * stream,
              outer + within * operands + inner + (kept_copy ? copy : 0) - number * stream};
  }
  return {};
}

// What attention keeps of weights that it widens, of all layers.
double widened_bytes(const RunConfig& config, int tp) {
  const ModelConfig& m = config.model();
  const bool mapped = has_query_map(config.attention().kind());
  if (!in_bf16(config) || !mapped) return 0;
  const bool all = config.train().recompute() == configs::TrainConfig::NONE;
  const auto head = static_cast<double>(m.width() / m.heads());
  return kFloat * static_cast<double>(all ? m.layers() : 1) * static_cast<double>(m.heads() / tp) *
         head * head;
}

}  // namespace

int64_t rank_elements(const RunConfig& config, int tp) {
  const ModelConfig& m = config.model();
  const int64_t width = m.width(), head = width / m.heads(), bias = m.bias() ? 1 : 0;
  const int64_t heads = m.heads() / tp, kv_heads = m.kv_heads() / tp, hidden = m.mlp_width() / tp;
  const int64_t ins = m.mlp() == ModelConfig::SWIGLU ? 2 : 1;
  const auto kind = config.attention().kind();
  const int64_t qkv_rows = projected_rows(kind, heads, kv_heads, head);
  const int64_t norm = width * (m.norm() == ModelConfig::LAYER ? 1 + bias : 1);

  int64_t layer = qkv_rows * (width + bias) + heads * head * width + width * bias;
  layer += ins * hidden * (width + bias) + hidden * width + width * bias;
  layer += 2 * norm;
  layer += own_elements(kind, heads, head);

  const int64_t table = (m.vocab() + tp - 1) / tp * width;
  int64_t all = m.layers() * layer + lambda_elements(config, heads);
  if (m.norm_position() == ModelConfig::PRE) all += norm;
  if (m.positions() == ModelConfig::LEARNED) all += m.context() * width;
  return all + table * (m.tied_embeddings() ? 1 : 2);
}

MemoryPlan plan_memory(const RunPlan& plan) {
  const RunConfig& run = plan.config;
  const ModelConfig& m = run.model();
  const int tp = plan.ranks / plan.copies;
  const auto elements = static_cast<double>(rank_elements(run, tp));
  const double copies = run.parallel().zero() == 1 ? plan.copies : 1;
  const bool two = run.optimizer().kind() == configs::OptimizerConfig::ADAMW;
  const double moments = two ? 2 : run.optimizer().momentum() != 0 ? 1 : 0;

  const auto width = static_cast<double>(m.width());
  const double vocab = static_cast<double>((m.vocab() + tp - 1) / tp);
  const bool sequence = run.parallel().sequence_parallel() && tp > 1;
  const double number = number_bytes(run);
  const LayerBytes layer = layer_bytes(run, tp, sequence, plan.on_gpu);
  const double blocks = static_cast<double>(m.layers()) * layer.kept;
  // Either at the turn: the final norm, the logits, whose gradient takes their place, and the
  // gradient of the final norm; or in a block's backward, the gradients of its MLP under way (with
  // sequence parallelism the incoming one gathered too), its activation, and the output of a block
  // that was computed again.
  const double stream = sequence ? width / tp : width;
  const double hidden = static_cast<double>(m.mlp_width()) / tp;
  const double under_way = (m.mlp() == ModelConfig::SWIGLU ? 3 : 2) * hidden;
  double turn = number * (vocab + width);
  if (m.norm_position() == ModelConfig::PRE) turn += number * (width + stream);
  const bool again = run.train().recompute() == configs::TrainConfig::FULL;
  const bool selective = run.train().recompute() == configs::TrainConfig::SELECTIVE;
  const double block =
      (selective ? 0 : layer.computed) +
      number * (stream + (sequence ? width : 0) + under_way + (again ? stream : 0));
  // Or, where no kernel spares them, in matrices of queries times keys; COG's last layer has none.
  const double pairs = static_cast<double>(m.heads() / tp) * static_cast<double>(m.context());
  double attention = layer.computed + number * stream + matrices_at_once(run) * kFloat * pairs +
                     number * gradients_in_attention(run) / tp;
  if (run.attention().kind() == AttentionConfig::COG) attention -= layer.kept;
  const double token = blocks + std::max({turn, block, attention});
  const double tokens = static_cast<double>(run.train().micro_batch() * m.context());

  const bool zero = run.parallel().zero() == 1;
  MemoryPlan memory;
  memory.parameters = number * elements;
  memory.gradients = elements * (zero ? kFloat + (kFloat + number) / copies : kFloat);
  memory.optimizer = kFloat * (moments + (in_bf16(run) ? 1 : 0)) * elements / copies;
  memory.activations = token * tokens + (plan.on_gpu ? 0 : widened_bytes(run, tp));
  if (run.checkpoint().asynchronous()) {
    memory.snapshot = kFloat * (1 + moments) * elements / plan.copies;
  }
  return memory;
}

}  // namespace dagpam::trainer

#include "trainer/memory_plan.h"

#include <algorithm>
#include <vector>

#include "trainer/parameter_counts.h"

namespace dagpam::trainer {

using configs::AttentionConfig;
using configs::ModelConfig;
using configs::RunConfig;

namespace {

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
double kept_on_gpu(const RunConfig& config, AttentionConfig::Kind kind, double width, double keys) {
  const bool rotary = config.model().positions() == ModelConfig::ROTARY;
  double numbers = rotary ? keys : 0;
  if (kind == AttentionConfig::DAGPAM) return numbers + 5 * width;
  if (kind == AttentionConfig::SOFTMAX_WIDE) numbers += 2 * width;
  return numbers + (rotary && kind != AttentionConfig::SOFTMAX_WIDE ? width : 0);
}

// Matrices of queries times keys, in float32, that a layer's backward has at once at most, where no
// kernel spares them (attention/weighting.h): counted in the running program.
double matrices_at_once(const RunConfig& config, AttentionConfig::Kind kind) {
  const int64_t softmax_layers = 2;  // of COG
  switch (kind) {
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
// serves it: those of its answers and of what it was given. By the time of the latter DIFF and
// DIFF2 have let go of the answers of their maps.
double gradients_in_attention(const RunConfig& config, AttentionConfig::Kind kind) {
  const ModelConfig& m = config.model();
  const auto width = static_cast<double>(m.width());
  const double keys = static_cast<double>(m.kv_heads()) * width / static_cast<double>(m.heads());
  switch (kind) {
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

// Bytes that backward needs of one token, on a rank.
struct LayerBytes {
  double kept = 0;      // from forward to backward
  double computed = 0;  // by the recomputation of that layer, on top
};

// What a layer is made of: the widths of one rank.
struct Widths {
  Widths(const RunConfig& config, int ranks, bool gpu)
      : tp(ranks),
        width(static_cast<double>(config.model().width())),
        heads(static_cast<double>(config.model().heads())),
        keys(static_cast<double>(config.model().kv_heads()) * width / heads),
        stream(config.parallel().sequence_parallel() && ranks > 1 ? width / tp : width),
        hidden(static_cast<double>(config.model().mlp_width()) / tp),
        number(number_bytes(config)),
        on_gpu(gpu) {}
  // A norm: its input, mean and 1 / deviation; what it gives, gathered, is the input of the cut
  // layer behind it.
  double norm() const { return number * (stream + width) + 2 * kFloat * stream / width; }

  double tp, width, heads, keys;
  double stream;  // of the residual stream
  double hidden, number;
  bool on_gpu;
};

// An attention layer and its norm. Without recomputation of the inner part all of it is kept.
struct AttentionBytes {
  double outer = 0;     // whatever is computed again
  double operands = 0;  // queries, keys and values as SELECTIVE keeps them
  double whole = 0;     // all within attention, operands included
  double again = 0;     // what SELECTIVE computes again, on top of the operands it keeps
};

AttentionBytes attention_bytes(const RunConfig& config, AttentionConfig::Kind kind,
                               const Widths& w) {
  const bool two = kind == AttentionConfig::DAGPAM,
             rotary = config.model().positions() == ModelConfig::ROTARY;
  // Within a CPU's attention, in float32: queries, keys, values; log-sum-exps, mapped queries;
  // rotated queries and keys.
  double operands = (w.width + 2 * w.keys) / w.tp;
  double within = w.on_gpu ? w.number : kFloat;
  double inner = kFloat * (two ? 2 : matrices_at_once(config, kind) > 0 ? 0 : 1) * w.heads / w.tp;
  if (w.on_gpu) {
    inner += w.number * kept_on_gpu(config, kind, w.width, w.keys) / w.tp;
  } else {
    if (has_query_map(kind)) inner += kFloat * w.width / w.tp;
    if (rotary) inner += kFloat * (w.width + w.keys + (two ? w.width : 0)) / w.tp;
  }
  // Queries that share a key-value head do not lie apart like heads: they are copied, while what
  // they were cut from lives on with the values.
  const double queries = kind == AttentionConfig::DIFF2 ? 2 * w.width : w.width;
  const double copy = queries > w.keys ? w.number * queries / w.tp : 0;
  const bool kept_copy = !rotary && within == w.number && kind != AttentionConfig::DIFF;
  if (kind == AttentionConfig::DIFF2) {
    // The queries and answers of both maps, rotated ones again, log-sum-exps, gates.
    operands += w.width / w.tp;
    inner += (within * ((rotary ? 3 : 2) * w.width + w.heads) + kFloat * w.heads) / w.tp;
  }
  if (kind == AttentionConfig::DIFF) {
    // In place of the operands copies twice their size, of both maps; their answers; what the norm
    // keeps: its input twice, a number a pair.
    inner = (within * (2 * (w.width + 2 * w.keys) + 2 * w.width) +
             kFloat * (2 * w.width + 2.5 * w.heads)) /
            w.tp;
    within = 0;
  }
  AttentionBytes bytes;
  bytes.outer = w.norm() + w.number * w.width / w.tp;  // the answer, which the projection keeps
  bytes.operands = w.number * operands + copy;
  bytes.whole = within * operands + inner + (kept_copy ? copy : 0);
  bytes.again = inner + (within > w.number ? kFloat * operands : 0);
  return bytes;
}

// An MLP and its norm: what goes into the activation, which backward makes again.
double mlp_bytes(const RunConfig& config, const Widths& w) {
  return w.norm() + w.number * (config.model().mlp() == ModelConfig::SWIGLU ? 2 : 1) * w.hidden;
}

// A block with these attentions.
LayerBytes block_bytes(const RunConfig& config, const std::vector<AttentionConfig::Kind>& kinds,
                       const Widths& w) {
  double outer = mlp_bytes(config, w), operands = 0, whole = 0, again = 0;
  for (const AttentionConfig::Kind kind : kinds) {
    const AttentionBytes bytes = attention_bytes(config, kind, w);
    outer += bytes.outer;
    operands += bytes.operands;
    whole += bytes.whole;
    again = std::max(again, bytes.again);
  }
  switch (config.train().recompute()) {
    case configs::TrainConfig::NONE:
      return {outer + whole, 0};
    case configs::TrainConfig::SELECTIVE:
      return {outer + operands, again};
    case configs::TrainConfig::FULL:
      return {w.number * w.stream, outer + whole - w.number * w.stream};
  }
  return {};
}

// What attention keeps of weights that it widens, of all layers.
double widened_bytes(const RunConfig& config, int tp) {
  const ModelConfig& m = config.model();
  if (!in_bf16(config)) return 0;
  const bool all = config.train().recompute() == configs::TrainConfig::NONE;
  const auto head = static_cast<double>(m.width() / m.heads());
  double layers = 0;
  const auto add = [&](const AttentionConfig& attention, int64_t count) {
    if (has_query_map(attention.kind())) layers += static_cast<double>(all ? count : 1);
  };
  add(config.attention(), m.layers());
  if (m.kind() == ModelConfig::ENCODER_DECODER) {
    add(config.cross_attention(), m.layers());
    add(config.encoder_attention(), m.encoder_layers());
  }
  return kFloat * layers * static_cast<double>(m.heads() / tp) * head * head;
}

// Bytes of a token, saved for backward and on the way through it.
struct ActivationBytes {
  double saved = 0, under_way = 0;
};

// Of an encoder-decoder of a pair of a source and a target token.
ActivationBytes activation_bytes(const RunPlan& plan, int tp) {
  const RunConfig& run = plan.config;
  const ModelConfig& m = run.model();
  const bool pairs = m.kind() == ModelConfig::ENCODER_DECODER;
  const AttentionConfig::Kind kind = run.attention().kind();
  const Widths w(run, tp, plan.on_gpu);
  std::vector<AttentionConfig::Kind> kinds{kind};
  if (pairs) kinds.push_back(run.cross_attention().kind());
  const LayerBytes layer = block_bytes(run, kinds, w);
  double blocks = static_cast<double>(m.layers()) * layer.kept;
  if (pairs) {
    const LayerBytes encoder = block_bytes(run, {run.encoder_attention().kind()}, w);
    blocks += static_cast<double>(m.encoder_layers()) * encoder.kept;
    // The encoder's last norm, and the sum of the gradients of what it gave.
    blocks += (m.norm_position() == ModelConfig::PRE ? w.norm() : 0) + w.number * w.width;
  }
  // Either at the turn: the final norm, the logits, whose gradient takes their place, and the
  // gradient of the final norm; or in a block's backward, the gradients of its MLP under way (with
  // sequence parallelism the incoming one gathered too), its activation, and the output of a block
  // that was computed again.
  const auto vocab = static_cast<double>((m.vocab() + tp - 1) / tp);
  const double under_way = (m.mlp() == ModelConfig::SWIGLU ? 3 : 2) * w.hidden;
  double turn = w.number * (vocab + w.width);
  if (m.norm_position() == ModelConfig::PRE) turn += w.number * (w.width + w.stream);
  const bool again = run.train().recompute() == configs::TrainConfig::FULL;
  const bool selective = run.train().recompute() == configs::TrainConfig::SELECTIVE;
  // With ZeRO rows of several copies make up a bucket, so that a product's gradient lies beside it
  // until it is copied there: of the table at the turn, then of the largest product under way.
  const double tokens = static_cast<double>(micro_batch_tokens(plan));
  const double beside = run.parallel().zero() == 1 ? w.number * w.width / tokens : 0;
  turn += beside * vocab;
  const double gathered = w.stream < w.width ? w.width : 0;
  const double block = (selective ? 0 : layer.computed) +
                       w.number * (w.stream + gathered + under_way + (again ? w.stream : 0)) +
                       beside * w.hidden;
  // Or, where no kernel spares them, in matrices of queries times keys; COG's last layer has none.
  const double pairs_of_tokens =
      static_cast<double>(m.heads() / tp) * static_cast<double>(m.context());
  double attention = layer.computed + w.number * w.stream +
                     matrices_at_once(run, kind) * kFloat * pairs_of_tokens +
                     w.number * gradients_in_attention(run, kind) / tp +
                     beside * (w.width + 2 * w.keys) / tp;
  if (kind == AttentionConfig::COG) attention -= layer.kept;
  return {blocks, std::max({turn, block, attention})};
}

}  // namespace

MemoryPlan plan_memory(const RunPlan& plan) {
  const RunConfig& run = plan.config;
  const int tp = plan.ranks / plan.copies;
  const auto elements = static_cast<double>(rank_elements(run, tp));
  const bool zero = run.parallel().zero() == 1;
  const double copies = zero ? plan.copies : 1;
  const double moments = optimizer_moments(run.optimizer());
  const double number = number_bytes(run);
  MemoryPlan memory;
  memory.parameters = number * elements;
  memory.gradients = elements * (zero ? kFloat + (kFloat + number) / copies : kFloat);
  memory.masters = in_bf16(run) ? kFloat * elements / copies : 0;
  memory.optimizer = kFloat * moments * elements / copies + memory.masters;
  const auto tokens = static_cast<double>(micro_batch_tokens(plan));
  const ActivationBytes bytes = activation_bytes(plan, tp);
  memory.at_the_turn = bytes.under_way * tokens;
  memory.activations =
      (bytes.saved + bytes.under_way) * tokens + (plan.on_gpu ? 0 : widened_bytes(run, tp));
  if (run.checkpoint().asynchronous()) {
    memory.snapshot = kFloat * (1 + moments) * elements / plan.copies;
  }
  return memory;
}

}  // namespace dagpam::trainer

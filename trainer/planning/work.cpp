#include "trainer/planning/work.h"

#include "trainer/parameter_counts.h"
#include "trainer/planning/work_parts.h"

namespace dagpam::trainer::planning {

using configs::AttentionConfig;
using configs::ModelConfig;
using configs::TrainConfig;
using Operators = std::vector<Operator>;

Operator product(Part part, const Sizes& s, double m, double n, double k, double times) {
  Operator op;
  op.part = part;
  op.rate = Rate::kProduct;
  op.m = m;
  op.n = n;
  op.k = k;
  op.times = times;
  op.bytes = s.number * (m * k + k * n + m * n);
  if (times > 1) op.operators = 1 / times;  // one batched call
  return op;
}

Operator moves(Part part, Rate rate, double bytes, double operators) {
  Operator op;
  op.part = part;
  op.rate = rate;
  op.bytes = bytes;
  op.operators = operators;
  return op;
}

void append(Operators& to, const Operators& from) { to.insert(to.end(), from.begin(), from.end()); }

namespace {

// Views, hooks and the like of a block that cost the host and move nothing: some 300 calls in a
// trace of a step, most of them a third as dear as an operator with autograd's part.
constexpr double kLooseForward = 30, kLooseBackward = 50;

// A layer in -> out over n tokens, and the gradients of its input, weight and bias.
void linear(StageWork& to, Part part, const Sizes& s, double in, double out, bool bias) {
  to.forward.push_back(product(part, s, s.n, out, in));
  to.backward.push_back(product(part, s, s.n, in, out));
  to.backward.push_back(product(part, s, out, in, s.n));
  if (bias) to.backward.push_back(moves(part, Rate::kMemory, s.number * s.n * out));
  // Gradients in bfloat16 are written, read again and added to their float32 sums.
  if (s.narrow())
    to.backward.push_back(moves(part, Rate::kMemory, (4 + 2 * kFloatBytes) * in * out));
}

// With the sum of the residual stream. LibTorch's on a GPU: sum and norm, and their gradients,
// apart.
void norm(StageWork& to, const Sizes& s) {
  const double tokens = s.number * s.own * s.width;
  to.forward.push_back(moves(Part::kNorms, Rate::kNorm, (s.gpu ? 5 : 4) * tokens, s.gpu ? 2 : 1));
  to.backward.push_back(moves(Part::kNorms, Rate::kNorm, (s.gpu ? 8 : 4) * tokens, s.gpu ? 3 : 1));
  if (s.m.dropout() > 0) {
    to.forward.push_back(moves(Part::kNorms, Rate::kMemory, 2 * tokens));
    to.backward.push_back(moves(Part::kNorms, Rate::kMemory, 2 * tokens));
  }
}

StageWork block(AttentionConfig::Kind kind, const Sizes& s) {
  StageWork work;
  const double query_heads = kind == AttentionConfig::DIFF2 ? 2 * s.heads : s.heads;
  const double rows = (query_heads + 2 * s.kv_heads) * s.head;
  norm(work, s);
  linear(work, Part::kProjections, s, s.width, rows, s.m.bias());
  if (kind == AttentionConfig::DIFF2) {
    linear(work, Part::kProjections, s, s.width, s.heads, s.m.bias());
  }
  // Gradients of queries, keys and values into one; queries of a shared key apart.
  work.backward.push_back(moves(Part::kAttention, Rate::kMemory, 2 * s.number * s.n * rows));
  if (query_heads > s.kv_heads) {
    work.forward.push_back(
        moves(Part::kAttention, Rate::kMemory, 2 * s.number * s.n * query_heads * s.head));
  }
  const StageWork inner = inner_attention(kind, s);
  append(work.forward, inner.forward);
  append(work.backward, inner.backward);
  linear(work, Part::kProjections, s, s.heads * s.head, s.width, s.m.bias());
  norm(work, s);
  const double ins = s.m.mlp() == ModelConfig::SWIGLU ? 2 : 1;
  for (int i = 0; i < static_cast<int>(ins); ++i) {
    linear(work, Part::kMlp, s, s.width, s.hidden, s.m.bias());
  }
  const double row = s.number * s.n * s.hidden;
  work.forward.push_back(moves(Part::kMlp, Rate::kActivation, (ins + 1) * row));
  work.backward.push_back(moves(Part::kMlp, Rate::kActivation, (2 * ins + 2) * row));
  linear(work, Part::kMlp, s, s.hidden, s.width, s.m.bias());
  work.forward.push_back(moves(Part::kNorms, Rate::kMemory, 0, kLooseForward));
  work.backward.push_back(moves(Part::kNorms, Rate::kMemory, 0, kLooseBackward));
  switch (s.config.train().recompute()) {
    case TrainConfig::FULL:
      append(work.backward, work.forward);
      break;
    case TrainConfig::SELECTIVE:
      append(work.backward, inner.forward);
      break;
    default:
      break;
  }
  return work;
}

StageWork embedding(const Sizes& s) {
  StageWork work;
  const bool learned = s.m.positions() == ModelConfig::LEARNED;
  const double row = s.number * s.n * s.width;
  // Rows are read and written, those of positions added; where tokens are cut the others' masked.
  double passes = learned ? 5 : s.m.positions() == ModelConfig::SINUSOIDAL ? 7 : 2;
  if (s.tp > 1) passes += 3;
  work.forward.push_back(moves(Part::kEmbedding, Rate::kMemory, passes * row, 4));
  const double sums = kFloatBytes * s.n * s.width;
  double bytes = 3 * sums * (learned ? 2 : 1);
  if (!s.m.tied_embeddings()) bytes += kFloatBytes * s.vocab * s.width;
  work.backward.push_back(moves(Part::kEmbedding, Rate::kMemory, bytes, 6));
  return work;
}

// Final norm, logits, loss: one copy of the logits, which their gradient takes the place of.
StageWork head(const Sizes& s) {
  StageWork work;
  if (s.m.norm_position() == ModelConfig::PRE) norm(work, s);
  linear(work, Part::kLogits, s, s.width, s.vocab, false);
  const double logits = s.number * s.n * s.vocab;
  work.forward.push_back(moves(Part::kLoss, Rate::kLoss, 2 * logits, 8));
  work.backward.push_back(moves(Part::kLoss, Rate::kLoss, 2 * logits, 8));
  return work;
}

}  // namespace

const char* name_of(Part part) {
  constexpr const char* kNames[kParts] = {"embedding", "norms",  "projections", "attention",
                                          "MLP",       "logits", "loss",        "update"};
  return kNames[static_cast<int>(part)];
}

std::vector<StageWork> work_of_micro_batch(const RunPlan& plan) {
  const Sizes s(plan);
  std::vector<StageWork> stages{embedding(s)};
  const AttentionConfig& attention = plan.config.attention();
  for (int64_t i = 0; i < s.m.layers(); ++i) {
    const auto kind = layer_attention(attention, i, s.m.layers());
    // Blocks of one kind are alike.
    const bool as_before = i > 0 && kind == layer_attention(attention, i - 1, s.m.layers());
    stages.push_back(as_before ? stages.back() : block(kind, s));
  }
  stages.push_back(head(s));
  return stages;
}

Operators work_of_update(const RunPlan& plan) {
  const Sizes s(plan);
  const int tp = static_cast<int>(s.tp);
  const double elements = real(rank_elements(plan.config, tp));
  const bool zero = plan.config.parallel().zero() == 1;
  const double own = zero ? elements / real(plan.copies) : elements;
  const double moments = optimizer_moments(plan.config.optimizer());
  // Value, gradient and moments read, value and moments written; of BF16 weights rounded.
  double bytes = kFloatBytes * (3 + 2 * moments) + (s.narrow() ? kFloatBytes + s.number : 0);
  Operators ops;
  ops.push_back(moves(Part::kUpdate, Rate::kMemory, kFloatBytes * own, 20));  // the norm
  const double tensors = real(plan.config.model().layers()) * 12 + 4;
  ops.push_back(moves(Part::kUpdate, Rate::kUpdate, bytes * own, plan.on_gpu ? 10 : tensors));
  if (zero) {
    // Gradients into the bucket, own rows to where they are sent from, rows of others into place.
    ops.push_back(moves(Part::kUpdate, Rate::kMemory,
                        2 * kFloatBytes * elements + 2 * s.number * (own + elements), 3 * tensors));
  }
  return ops;
}

}  // namespace dagpam::trainer::planning

#include "trainer/parameter_counts.h"
#include "trainer/planning/work_parts.h"

namespace dagpam::trainer::planning {

using configs::AttentionConfig;
using configs::ModelConfig;
using Operators = std::vector<Operator>;

namespace {

// Passes over a float32 matrix of queries times keys, each reading one and writing one, of the
// kinds that form it: forward, and backward with the forward that it makes again.
struct Passes {
  double forward = 0, backward = 0;
};
Passes passes_of(AttentionConfig::Kind kind) {
  switch (kind) {
    case AttentionConfig::NON:
      return {5, 15};
    case AttentionConfig::NAP:
    case AttentionConfig::COG:
      return {9, 27};
    case AttentionConfig::CODA:
      return {8, 24};
    default:
      return {};
  }
}

// Queries to answers by matrices of queries times keys, in float32 (attention/weighting.h).
void attend_plainly(StageWork& to, AttentionConfig::Kind kind, const Sizes& s) {
  const double context = real(s.m.context()), matrices = s.heads * s.n / context;
  const double bytes = 2 * kFloatBytes * matrices * context * context;
  const Passes passes = passes_of(kind);
  const auto products = [&](double count, Operators& ops) {
    ops.push_back(product(Part::kAttention, s, context, context, s.head, count * matrices));
    ops.push_back(product(Part::kAttention, s, context, s.head, context, count * matrices));
  };
  products(1, to.forward);
  products(1, to.backward);  // made again
  products(2, to.backward);
  to.forward.push_back(
      moves(Part::kAttention, Rate::kMemory, passes.forward * bytes, passes.forward));
  to.backward.push_back(
      moves(Part::kAttention, Rate::kMemory, passes.backward * bytes, passes.backward));
}

// The mapped queries: ReLU, a product with a matrix of each head, of SOFTMAX_WIDE the sum.
void map_queries(StageWork& to, const Sizes& s) {
  const double queries = s.number * s.n * s.heads * s.head;
  const Part part = Part::kAttention;
  to.forward.push_back(product(part, s, s.n, s.head, s.head, s.heads));
  to.backward.push_back(product(part, s, s.n, s.head, s.head, s.heads));
  to.backward.push_back(product(part, s, s.head, s.head, s.n, s.heads));
  to.forward.push_back(moves(part, Rate::kMemory, 2 * queries));
  to.backward.push_back(moves(part, Rate::kMemory, 3 * queries));
}

void attend_by_kernel(StageWork& to, AttentionConfig::Kind kind, const Sizes& s) {
  const double width = s.heads * s.head;
  Operator forward;
  forward.part = Part::kAttention;
  forward.rate = Rate::kAttention;
  forward.operations = 2 * s.n * real(s.m.context()) * width;  // 4 B T^2 H D / 2
  Operator backward = forward;
  backward.backward = true;
  backward.operations *= 2.5;
  const double answers = s.number * s.n * width;
  switch (kind) {
    case AttentionConfig::DAGPAM:
      // On a GPU two calls' work in one, and a combination of their answers.
      forward.maps = backward.maps = 2;
      if (s.gpu) {
        to.forward.push_back(moves(Part::kAttention, Rate::kMemory, 7 * answers, 3));
        to.backward.push_back(moves(Part::kAttention, Rate::kMemory, 9 * answers, 3));
      }
      break;
    case AttentionConfig::DIFF:
    case AttentionConfig::DIFF2:  // maps of their own keys or queries: nothing is shared
      forward.times = backward.times = 2;
      to.forward.push_back(moves(Part::kAttention, Rate::kMemory, 12 * answers, 8));
      to.backward.push_back(moves(Part::kAttention, Rate::kMemory, 20 * answers, 14));
      break;
    default:
      break;
  }
  to.forward.push_back(forward);
  to.backward.push_back(backward);
}

}  // namespace

StageWork inner_attention(AttentionConfig::Kind kind, const Sizes& s) {
  StageWork work;
  const double queries = s.number * s.n * s.heads * s.head;
  const double keys = s.number * s.n * s.kv_heads * s.head;
  if (has_query_map(kind)) map_queries(work, s);
  if (s.m.positions() == ModelConfig::ROTARY) {
    const double turned = queries * (kind == AttentionConfig::DAGPAM ? 2 : 1) + keys;
    work.forward.push_back(moves(Part::kAttention, Rate::kMemory, 2 * turned, 2));
    work.backward.push_back(moves(Part::kAttention, Rate::kMemory, 2 * turned, 2));
  }
  if (s.narrow() && !s.gpu) {  // a CPU's attention takes float32
    work.forward.push_back(moves(Part::kAttention, Rate::kMemory, 3 * (2 * queries + 2 * keys), 4));
    work.backward.push_back(
        moves(Part::kAttention, Rate::kMemory, 3 * (2 * queries + 2 * keys), 4));
  }
  passes_of(kind).forward > 0 ? attend_plainly(work, kind, s) : attend_by_kernel(work, kind, s);
  return work;
}

}  // namespace dagpam::trainer::planning

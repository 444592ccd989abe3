// trainer/planning/work_parts.h: what the files of work.h share.
#pragma once

#include <vector>

#include "trainer/planning/work.h"

namespace dagpam::trainer::planning {

inline constexpr double kFloatBytes = 4;

inline double real(int64_t n) { return static_cast<double>(n); }

// Sizes of one rank. n tokens of a micro-batch, of which `own` are of the residual stream.
struct Sizes {
  explicit Sizes(const RunPlan& plan)
      : config(plan.config),
        m(plan.config.model()),
        tp(real(plan.ranks / plan.copies)),
        number(plan.config.train().precision() == configs::TrainConfig::BF16 ? 2 : kFloatBytes),
        n(real(micro_batch_tokens(plan))),
        own(plan.config.parallel().sequence_parallel() ? n / tp : n),
        width(real(m.width())),
        head(real(m.width() / m.heads())),
        heads(real(m.heads()) / tp),
        kv_heads(real(m.kv_heads()) / tp),
        hidden(real(m.mlp_width()) / tp),
        vocab(real((m.vocab() + static_cast<int64_t>(tp) - 1) / static_cast<int64_t>(tp))),
        gpu(plan.on_gpu) {}
  const configs::RunConfig& config;
  const configs::ModelConfig& m;
  double tp, number, n, own, width, head, heads, kv_heads, hidden, vocab;
  bool gpu;
  bool narrow() const { return number < kFloatBytes; }
};

// m x k by k x n, `times` alike in one call.
Operator product(Part part, const Sizes& s, double m, double n, double k, double times = 1);

// What moves bytes at that rate.
Operator moves(Part part, Rate rate, double bytes, double operators = 1);

void append(std::vector<Operator>& to, const std::vector<Operator>& from);

// From queries, keys and values to answers: what recomputation SELECTIVE makes again.
StageWork inner_attention(configs::AttentionConfig::Kind kind, const Sizes& s);

}  // namespace dagpam::trainer::planning

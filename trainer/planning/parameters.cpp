#include "trainer/planning/parameters.h"

#include <algorithm>

#include "trainer/parameter_counts.h"

namespace dagpam::trainer::planning {

using configs::AttentionConfig;
using configs::LambdaConfig;
using configs::ModelConfig;
using parallel::GradientKind;

namespace {

constexpr double kBytesPerMib = 1024.0 * 1024.0;
constexpr int64_t kSumBytes = 4;  // gradients are summed in float32

// Adds parameters in the order of the model's constructors.
class Declarer {
 public:
  explicit Declarer(const RunPlan& plan)
      : m_(plan.config.model()),
        attention_(plan.config.attention()),
        tp_(plan.ranks / plan.copies),
        sequence_(plan.config.parallel().sequence_parallel() && tp_ > 1),
        head_(m_.width() / m_.heads()) {}

  std::vector<PlannedParameter> all() {
    const int64_t table = (m_.vocab() + tp_ - 1) / tp_;
    cut(table, m_.width());
    if (m_.positions() == ModelConfig::LEARNED) spread(m_.context(), m_.width());
    if (attention_.kind() == AttentionConfig::DAGPAM) lambdas();
    for (int64_t i = 0; i < m_.layers(); ++i) {
      stage_ = i + 1;
      block(i);
    }
    stage_ = m_.layers() + 1;
    if (m_.norm_position() == ModelConfig::PRE) norm();
    if (!m_.tied_embeddings()) cut(table, m_.width());
    return std::move(list_);
  }

 private:
  void add(int64_t rows, int64_t inner, GradientKind kind) {
    list_.push_back({rows, inner, tp_ == 1 ? GradientKind::kReplicated : kind, stage_});
  }
  void cut(int64_t rows, int64_t inner) { add(rows, inner, GradientKind::kCut); }
  void partial(int64_t rows) { add(rows, 1, GradientKind::kPartial); }
  // Whole on every rank; with sequence parallelism each knows its own tokens' part of the gradient.
  void spread(int64_t rows, int64_t inner) {
    add(rows, inner, sequence_ ? GradientKind::kPartial : GradientKind::kReplicated);
  }
  void column(int64_t out) {  // `out` rows on this rank
    cut(out, m_.width());
    if (m_.bias()) cut(out, 1);
  }
  void row(int64_t in) {  // `in` columns on this rank
    cut(m_.width(), in);
    if (m_.bias()) spread(m_.width(), 1);
  }
  void norm() {
    spread(m_.width(), 1);
    if (m_.bias() && m_.norm() == ModelConfig::LAYER) spread(m_.width(), 1);
  }

  void lambdas() {
    const LambdaConfig& lambda = attention_.lambda();
    if (lambda.mode() != LambdaConfig::TRAINED) return;
    const bool by_head = lambda.scope() == LambdaConfig::HEAD;
    const int64_t count = lambda.scope() == LambdaConfig::MODEL ? 1 : m_.layers();
    for (int64_t i = 0; i < count; ++i) {
      stage_ = i + 1;
      for (int two = 0; two < 2; ++two) by_head ? cut(m_.heads() / tp_, 1) : partial(1);
    }
    stage_ = 0;
  }

  void attention(int64_t index) {
    const auto kind = layer_attention(attention_, index, m_.layers());
    const int64_t heads = m_.heads() / tp_, kv_heads = m_.kv_heads() / tp_;
    const int64_t query_heads = kind == AttentionConfig::DIFF2 ? 2 * heads : heads;
    column((query_heads + 2 * kv_heads) * head_);
    if (kind == AttentionConfig::DIFF2) column(heads);
    if (has_query_map(kind)) cut(heads, head_ * head_);
    if (kind == AttentionConfig::NAP) {
      cut(heads, 1);
      cut(heads, 1);
    }
    if (kind == AttentionConfig::DIFF) {
      for (int factor = 0; factor < 4; ++factor) partial(head_);
      partial(2 * head_);
    }
    row(heads * head_);
  }

  void block(int64_t index) {
    norm();
    attention(index);
    norm();
    const int64_t hidden = m_.mlp_width() / tp_;
    column(hidden);
    row(hidden);
    if (m_.mlp() == ModelConfig::SWIGLU) column(hidden);
  }

  const ModelConfig& m_;
  const AttentionConfig& attention_;
  int64_t tp_;
  bool sequence_;
  int64_t head_, stage_ = 0;
  std::vector<PlannedParameter> list_;
};

}  // namespace

std::vector<PlannedParameter> planned_parameters(const RunPlan& plan) {
  return Declarer(plan).all();
}

std::vector<PlannedBucket> planned_buckets(const RunPlan& plan) {
  const std::vector<PlannedParameter> parameters = planned_parameters(plan);
  std::vector<parallel::GradientSize> sizes;
  sizes.reserve(parameters.size());
  for (const PlannedParameter& p : parameters) sizes.push_back({p.kind, kSumBytes * p.elements()});
  const double mib = plan.config.parallel().bucket_mib();
  std::vector<PlannedBucket> buckets;
  for (const auto& group :
       parallel::group_gradients(sizes, static_cast<int64_t>(mib * kBytesPerMib))) {
    PlannedBucket bucket;
    bucket.kind = group.kind;
    bucket.first_stage = parameters[group.members.front()].stage;
    for (const size_t member : group.members) {
      const PlannedParameter& p = parameters[member];
      bucket.elements += p.elements();
      bucket.segment += (p.rows + plan.copies - 1) / plan.copies * p.inner;
      bucket.first_stage = std::min(bucket.first_stage, p.stage);
    }
    buckets.push_back(bucket);
  }
  return buckets;
}

}  // namespace dagpam::trainer::planning

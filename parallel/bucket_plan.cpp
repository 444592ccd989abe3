#include "parallel/bucket_plan.h"

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <utility>

#include "parallel/master_weights.h"

namespace dagpam::parallel {
namespace {

constexpr int64_t kFirstBucketBytes = int64_t{1} << 20;

GradientKind kind_of(const Parameter& parameter, int tp_size) {
  if (tp_size == 1) return GradientKind::kReplicated;
  if (parameter.shard.cut_dim >= 0) return GradientKind::kCut;
  return parameter.partial_gradient ? GradientKind::kPartial : GradientKind::kReplicated;
}

}  // namespace

std::vector<BucketPlan> plan_buckets(const std::vector<ParameterPtr>& parameters, int tp_size,
                                     int64_t bucket_bytes) {
  TORCH_CHECK(bucket_bytes > 0, "gradient buckets of ", bucket_bytes, " bytes");
  struct Open {
    BucketPlan plan;
    int64_t bytes = 0;
  };
  std::vector<BucketPlan> buckets;
  std::array<Open, 3> open;  // by kind
  const auto close = [&](Open& bucket) {
    if (!bucket.plan.members.empty()) buckets.push_back(std::move(bucket.plan));
    bucket = {};
  };
  for (auto next = parameters.rbegin(); next != parameters.rend(); ++next) {
    const at::Tensor& value = (*next)->value;
    TORCH_CHECK(value.is_leaf() && value.requires_grad(), "gradient buckets: parameter '",
                (*next)->name, "' is not a leaf that requires a gradient");
    TORCH_CHECK(value.device() == parameters.front()->value.device(),
                "gradient buckets: parameter '", (*next)->name, "' is on ", value.device(),
                ", but the first one on ", parameters.front()->value.device());
    const GradientKind kind = kind_of(**next, tp_size);
    Open& bucket = open[static_cast<size_t>(kind)];
    const auto bytes = value.numel() * static_cast<int64_t>(c10::elementSize(sum_type(**next)));
    const int64_t limit =
        buckets.empty() ? std::min(kFirstBucketBytes, bucket_bytes) : bucket_bytes;
    const bool fits = bucket.plan.members.empty() ||
                      (bucket.bytes + bytes <= limit &&
                       value.scalar_type() == bucket.plan.members.front()->value.scalar_type());
    if (!fits) close(bucket);
    bucket.plan.kind = kind;
    bucket.plan.members.push_back(*next);
    bucket.bytes += bytes;
  }
  for (Open& bucket : open) close(bucket);
  return buckets;
}

}  // namespace dagpam::parallel

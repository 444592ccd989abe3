#include "parallel/bucket_plan.h"

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include <utility>

#include "parallel/master_weights.h"

namespace dagpam::parallel {
namespace {

GradientKind kind_of(const Parameter& parameter, int tp_size) {
  if (tp_size == 1) return GradientKind::kReplicated;
  if (parameter.shard.cut_dim >= 0) return GradientKind::kCut;
  return parameter.partial_gradient ? GradientKind::kPartial : GradientKind::kReplicated;
}

}  // namespace

std::vector<BucketPlan> plan_buckets(const std::vector<ParameterPtr>& parameters, int tp_size,
                                     int64_t bucket_bytes) {
  TORCH_CHECK(bucket_bytes > 0, "gradient buckets of ", bucket_bytes, " bytes");
  std::vector<GradientSize> sizes;
  for (const ParameterPtr& parameter : parameters) {
    const at::Tensor& value = parameter->value;
    TORCH_CHECK(value.is_leaf() && value.requires_grad(), "gradient buckets: parameter '",
                parameter->name, "' is not a leaf that requires a gradient");
    TORCH_CHECK(value.device() == parameters.front()->value.device(),
                "gradient buckets: parameter '", parameter->name, "' is on ", value.device(),
                ", but the first one on ", parameters.front()->value.device());
    const auto element = static_cast<int64_t>(c10::elementSize(sum_type(*parameter)));
    sizes.push_back({kind_of(*parameter, tp_size), value.numel() * element,
                     static_cast<int>(value.scalar_type())});
  }
  std::vector<BucketPlan> buckets;
  for (const GradientGroup& group : group_gradients(sizes, bucket_bytes)) {
    BucketPlan bucket{group.kind, {}};
    for (const size_t member : group.members) bucket.members.push_back(parameters[member]);
    buckets.push_back(std::move(bucket));
  }
  return buckets;
}

}  // namespace dagpam::parallel

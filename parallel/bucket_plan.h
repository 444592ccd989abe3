// parallel/bucket_plan.h: which parameters' gradients travel together.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/bucket_grouping.h"
#include "parallel/parameter.h"

namespace dagpam::parallel {

struct BucketPlan {
  GradientKind kind = GradientKind::kReplicated;
  std::vector<ParameterPtr> members;  // one dtype
};

// As bucket_grouping.h cuts them. Without tensor parallelism all are kReplicated. Throws c10::Error
// for parameters that are not leaves, on one device, that require a gradient.
std::vector<BucketPlan> plan_buckets(const std::vector<ParameterPtr>& parameters, int tp_size,
                                     int64_t bucket_bytes);

}  // namespace dagpam::parallel

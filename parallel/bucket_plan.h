// parallel/bucket_plan.h: which parameters' gradients travel together.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/parameter.h"

namespace dagpam::parallel {

// Which ranks of the tensor-parallel group know what of a parameter's gradient.
enum class GradientKind {
  kCut,         // each its own part of the parameter
  kReplicated,  // all the same
  kPartial,     // each a term of the sum
};

struct BucketPlan {
  GradientKind kind = GradientKind::kReplicated;
  std::vector<ParameterPtr> members;  // one dtype
};

// Reverse order of declaration, the order in which backward reaches them. A bucket holds one kind
// and about bucket_bytes (a larger parameter has one of its own); the first is small, so that the
// first reduction starts early. Without tensor parallelism all are kReplicated. Throws c10::Error
// for parameters that are not leaves, on one device, that require a gradient.
std::vector<BucketPlan> plan_buckets(const std::vector<ParameterPtr>& parameters, int tp_size,
                                     int64_t bucket_bytes);

}  // namespace dagpam::parallel

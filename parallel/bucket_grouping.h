// parallel/bucket_grouping.h: which gradients travel together, from their kinds and sizes alone, so
// that what plans a run and what runs it cut buckets alike. Knows no LibTorch.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace dagpam::parallel {

// Which ranks of the tensor-parallel group know what of a parameter's gradient.
enum class GradientKind {
  kCut,         // each its own part of the parameter
  kReplicated,  // all the same
  kPartial,     // each a term of the sum
};

struct GradientSize {
  GradientKind kind = GradientKind::kReplicated;
  int64_t bytes = 0;
  int type = 0;  // of the parameter; a bucket holds one
};

struct GradientGroup {
  GradientKind kind = GradientKind::kReplicated;
  std::vector<size_t> members;  // indices, last declared first
};

inline constexpr int64_t kFirstBucketBytes = int64_t{1} << 20;

// Reverse order of declaration, the order in which backward reaches them. A group holds one kind
// and about `bytes` (a larger gradient is alone); the first is small, so that the first reduction
// starts early.
inline std::vector<GradientGroup> group_gradients(const std::vector<GradientSize>& gradients,
                                                  int64_t bytes) {
  struct Open {
    GradientGroup group;
    int64_t held = 0;
  };
  std::vector<GradientGroup> groups;
  std::array<Open, 3> open;  // by kind
  const auto close = [&](Open& one) {
    if (!one.group.members.empty()) groups.push_back(std::move(one.group));
    one = {};
  };
  for (size_t i = gradients.size(); i-- > 0;) {
    const GradientSize& next = gradients[i];
    Open& one = open[static_cast<size_t>(next.kind)];
    const int64_t limit = groups.empty() ? std::min(kFirstBucketBytes, bytes) : bytes;
    const bool fits =
        one.group.members.empty() ||
        (one.held + next.bytes <= limit && next.type == gradients[one.group.members.front()].type);
    if (!fits) close(one);
    one.group.kind = next.kind;
    one.group.members.push_back(i);
    one.held += next.bytes;
  }
  for (Open& one : open) close(one);
  return groups;
}

}  // namespace dagpam::parallel

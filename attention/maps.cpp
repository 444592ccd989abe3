#include "attention/maps.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>

namespace dagpam::attention {
namespace {

at::Tensor checked(const at::Tensor& bound, const char* name, int64_t batch, int64_t queries) {
  if (!bound.defined()) return bound;
  TORCH_CHECK(bound.scalar_type() == at::kInt && bound.dim() == 2 && bound.size(0) == batch &&
                  bound.size(1) == queries,
              "visibility.", name, " is ", bound.scalar_type(), " ", bound.sizes(),
              ", expected int32 [", batch, ", ", queries, "]");
  return bound.to(at::kCPU).contiguous();
}

}  // namespace

at::Tensor key_bounds(const Visibility& visibility, int64_t batch, int64_t queries, int64_t keys) {
  TORCH_CHECK(keys <= std::numeric_limits<int32_t>::max(), keys,
              " keys, at most 2^31 - 1 are served");
  const at::Tensor begin = checked(visibility.begin, "begin", batch, queries);
  const at::Tensor end = checked(visibility.end, "end", batch, queries);
  const int64_t batches = begin.defined() || end.defined() ? batch : 1;
  const at::Tensor bounds = at::empty({2, batches, queries}, at::kInt);
  auto* const first = bounds.mutable_data_ptr<int32_t>();
  int32_t* const last = first + batches * queries;
  const auto* const given_begin = begin.defined() ? begin.const_data_ptr<int32_t>() : nullptr;
  const auto* const given_end = end.defined() ? end.const_data_ptr<int32_t>() : nullptr;
  for (int64_t i = 0; i < batches * queries; ++i) {
    int64_t limit = given_end != nullptr ? given_end[i] : keys;
    if (visibility.causal) limit = std::min(limit, i % queries + keys - queries + 1);
    const int64_t start = given_begin != nullptr ? given_begin[i] : 0;
    first[i] = static_cast<int32_t>(std::clamp<int64_t>(start, 0, keys));
    last[i] = static_cast<int32_t>(std::clamp<int64_t>(limit, 0, keys));
  }
  return bounds;
}

}  // namespace dagpam::attention

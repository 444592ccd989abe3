#include "attention/maps.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace dagpam::attention {
namespace {

void check(const at::Tensor& bound, const char* name, int64_t batch, int64_t queries) {
  if (!bound.defined()) return;
  TORCH_CHECK(bound.scalar_type() == at::kInt && bound.dim() == 2 && bound.size(0) == batch &&
                  bound.size(1) == queries,
              "visibility.", name, " is ", bound.scalar_type(), " ", bound.sizes(),
              ", expected int32 [", batch, ", ", queries, "]");
}

void check(const Visibility& visibility, int64_t batch, int64_t queries, int64_t keys) {
  TORCH_CHECK(keys <= std::numeric_limits<int32_t>::max(), keys,
              " keys, at most 2^31 - 1 are served");
  check(visibility.begin, "begin", batch, queries);
  check(visibility.end, "end", batch, queries);
}

at::Tensor on_cpu(const at::Tensor& bound) {
  return bound.defined() ? bound.to(at::kCPU).contiguous() : bound;
}

}  // namespace

at::Tensor key_bounds(const Visibility& visibility, int64_t batch, int64_t queries, int64_t keys) {
  check(visibility, batch, queries, keys);
  const at::Tensor begin = on_cpu(visibility.begin), end = on_cpu(visibility.end);
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

at::Tensor device_key_bounds(const Visibility& visibility, int64_t batch, int64_t queries,
                             int64_t keys, at::Device device) {
  check(visibility, batch, queries, keys);
  const auto options = at::TensorOptions(at::kInt).device(device);
  at::Tensor begin = visibility.begin.defined() ? visibility.begin : at::zeros({1, 1}, options);
  at::Tensor end = visibility.end.defined() ? visibility.end : at::full({1, 1}, keys, options);
  if (visibility.causal) {
    end = at::minimum(end, at::arange(queries, options).add(keys - queries + 1));  // [B or 1, N]
  }
  const int64_t batches = std::max(begin.size(0), end.size(0));
  return at::stack({begin.clamp(0, keys).expand({batches, queries}),
                    end.clamp(0, keys).expand({batches, queries})});
}

}  // namespace dagpam::attention

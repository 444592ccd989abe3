#include "attention/composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/stack.h>

#include <optional>

#include "attention/combine.h"
#include "attention/library_kernel.h"
#include "attention/reference.h"

namespace dagpam::attention::composed {

Sight sight_of(const Visibility& visibility, int64_t queries, int64_t keys) {
  if (visibility.begin.defined() || visibility.end.defined()) return Sight::kBounds;
  if (!visibility.causal || queries == 1) return Sight::kAll;
  return queries == keys ? Sight::kCausal : Sight::kBounds;
}

at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w, bool residual) {
  const at::Tensor rows = at::relu(q).flatten(0, 1).transpose(0, 1);  // [H, B N, D]
  const at::Tensor mapped = at::bmm(rows, w).transpose(0, 1).view(q.sizes());
  return residual ? q.add(mapped) : mapped;
}

at::Tensor attend(const Maps& maps, Sight sight) {
  const int sides = maps.q_neg.defined() ? 2 : 1;
  // Q_0, Q-_0, Q_1, Q-_1, ...: query head i reads key-value head i / (sides H / Hkv), its own.
  const at::Tensor q =
      sides == 2 ? at::stack({maps.q, maps.q_neg}, 3).flatten(2, 3) : maps.q;  // [B, N, sides H, D]
  at::Tensor k = maps.k, v = maps.v;
  // The kernels of half types read shared heads; those of float32 need a copy for each query head.
  const bool half = q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16;
  const bool shared = q.size(2) != k.size(2);
  if (shared && !half) {
    k = k.repeat_interleave(q.size(2) / k.size(2), 2);
    v = v.repeat_interleave(q.size(2) / v.size(2), 2);
  }
  LibraryCall call{q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)};
  call.causal = sight == Sight::kCausal;
  call.grouped = shared && half;
  at::Tensor blind;  // [B or 1, 1, N, 1]
  if (sight == Sight::kBounds) {
    const at::Tensor visible = reference::visible_keys(maps.bounds, k.size(1), q.device());
    blind = visible.any(-1, /*keepdim=*/true).logical_not();
    call.mask = visible.logical_or(blind);  // [B or 1, 1, N, M]
  }
  const std::optional<LibraryKernel> kernel = choose_kernel(call);
  std::optional<PinnedKernel> pin;
  if (kernel) pin.emplace(*kernel);
  at::Tensor y = call_library(call);  // [B, sides H, N, D]
  if (blind.defined()) y = y.masked_fill(blind, 0);
  y = y.transpose(1, 2);
  return sides == 1 ? y.contiguous() : combine(y, maps.plus, maps.minus);
}

}  // namespace dagpam::attention::composed

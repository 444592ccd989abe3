#include "attention/composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>

#include <optional>

#include "attention/reference.h"

namespace dagpam::attention::composed {

Sight sight_of(const Visibility& visibility, int64_t queries, int64_t keys) {
  if (visibility.begin.defined() || visibility.end.defined()) return Sight::kBounds;
  if (!visibility.causal || queries == 1) return Sight::kAll;
  return queries == keys ? Sight::kCausal : Sight::kBounds;
}

at::Tensor attend(const Maps& maps, Sight sight) {
  const int64_t batch = maps.q.size(0), queries = maps.q.size(1), heads = maps.q.size(2);
  const int64_t width = maps.q.size(3), sides = maps.q_neg.defined() ? 2 : 1;
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
  std::optional<at::Tensor> mask;
  at::Tensor blind;  // [B or 1, 1, N, 1]
  if (sight == Sight::kBounds) {
    const at::Tensor visible = reference::visible_keys(maps.bounds, k.size(1), q.device());
    blind = visible.any(-1, /*keepdim=*/true).logical_not();
    mask = visible.logical_or(blind);  // [B or 1, 1, N, M]
  }
  at::Tensor y = at::scaled_dot_product_attention(
      q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask, /*dropout_p=*/0.0,
      /*is_causal=*/sight == Sight::kCausal, /*scale=*/{}, /*enable_gqa=*/shared && half);
  if (blind.defined()) y = y.masked_fill(blind, 0);
  if (sides == 1) return y.transpose(1, 2).contiguous();
  const at::Tensor both = y.view({batch, heads, 2, queries, width});
  const at::Tensor plus = maps.plus.view({-1, 1, 1}), minus = maps.minus.view({-1, 1, 1});
  return ((1 + plus) * both.select(2, 0) - minus * both.select(2, 1)).transpose(1, 2).contiguous();
}

}  // namespace dagpam::attention::composed

// DIFF: differential attention (Ye et al. 2024, "Differential Transformer", arXiv 2410.05258). The
// heads of two neighbouring key-value heads make pairs, whose maps are subtracted:
//   A = softmax(Q1 K1^T / sqrt D) - lam softmax(Q2 K2^T / sqrt D),   Y = A [V1 | V2],
//   lam = exp(lq1 . lk1) - exp(lq2 . lk2) + lam0,   lam0 = 0.8 - 0.6 exp(-0.3 layer);
// then an RMS norm over the 2 D channels of each pair, with one scale for all pairs, times 1 -
// lam0.
//
// Legend: B batch, N queries, M keys, H heads, Hkv key-value heads, g = H / Hkv, p = Hkv / 2 pairs
// of key-value heads, D head width.
#include <ATen/TensorOperators.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/stack.h>

#include <cmath>

#include "attention/reference.h"
#include "attention/variant.h"

namespace dagpam::attention {
namespace {

constexpr double kDeviation = 0.1, kNormEps = 1e-5;

// x [B, R, heads, D] with each head of a pair of key-value heads where the kernels want it, for the
// products of either map with either value: [B, R, p, map, half, heads / Hkv, D] as heads.
at::Tensor by_map_and_half(const at::Tensor& x, int64_t kv_heads, bool half_is_given) {
  const int64_t rows = x.size(1), each = x.size(2) / kv_heads, width = x.size(3);
  const at::Tensor pairs = x.reshape({x.size(0), rows, kv_heads / 2, 2, each, width});
  const at::Tensor spread = pairs.unsqueeze(half_is_given ? 3 : 4);
  return spread.expand({x.size(0), rows, kv_heads / 2, 2, 2, each, width})
      .reshape({x.size(0), rows, 2 * x.size(2), width});
}

class Diff : public Attention {
 public:
  Diff(const Options& options, const std::string& prefix, parallel::ParameterList& parameters)
      : options_(options), start_(0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(options.layer))) {
    // Every rank sees only its own heads' part of the gradients of what all heads share.
    const parallel::ParameterOptions shared{.partial_gradient = true, .decay = false};
    // The norm undoes what lambda does to an answer's size: only its direction is left.
    parallel::ParameterOptions factor = shared;
    factor.gradient_cancels = true;
    const char* const names[] = {"lq1", "lk1", "lq2", "lk2"};
    for (size_t i = 0; i < 4; ++i) {
      factors_[i] = parameters.add(prefix + names[i], {options.head_width},
                                   parallel::Init::normal(kDeviation), factor);
    }
    norm_ = parameters.add(prefix + "norm", {2 * options.head_width}, parallel::Init::constant(1),
                           shared);
  }

  at::Tensor forward(const Inputs& in) override {
    const Call call(options_, in);
    const at::ScalarType type = in.q.scalar_type();
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor lam = lambda(wide);
    const at::Tensor y = call.has_kernels() && call.dropout == nullptr ? by_kernels(call, lam)
                                                                       : by_weights(call, lam);
    return normed(y.to(wide)).to(type);
  }

 private:
  at::Tensor lambda(at::ScalarType type) const {  // scalar
    const auto product = [&](size_t i) {
      return at::exp(at::dot(factors_[i]->ready().to(type), factors_[i + 1]->ready().to(type)));
    };
    return product(0) - product(2) + start_;
  }

  // Weights [B, H, N, M] of the heads' own values: both halves of a pair have the pair's.
  static at::Tensor by_weights(const Call& call, const at::Tensor& lam) {
    SeenWeights* const seen = call.seen;
    const auto weighting = [seen, kv_heads = call.k.size(2)](const Scores& scores) {
      const at::Tensor p = reference::visible_softmax(scores.scaled(), scores.visible);
      const int64_t batch = p.size(0), group = p.size(1) / kv_heads;
      const at::Tensor maps = p.reshape({batch, kv_heads / 2, 2, group, p.size(2), p.size(3)});
      const at::Tensor plus = maps.select(2, 0), minus = maps.select(2, 1);
      if (seen != nullptr) {
        seen->plus = plus.flatten(1, 2);
        seen->minus = minus.flatten(1, 2);
      }
      const at::Tensor difference = plus - scores.own[0] * minus;
      return difference.unsqueeze(2).expand(maps.sizes()).reshape(p.sizes());
    };
    const at::Tensor y = call.attend_weighted({lam}, weighting);
    if (seen != nullptr) seen->weights = seen->plus - lam * seen->minus;
    return y;
  }

  // Either map times either value, as 2 H heads: what the kernels do not know, values wider than
  // keys, costs them twice the scores.
  at::Tensor by_kernels(const Call& call, const at::Tensor& lam) const {
    const int64_t kv_heads = options_.kv_heads;
    Maps maps = call.placed(call.rotated(call.q));
    maps.q = by_map_and_half(maps.q, kv_heads, false);  // [B, N, 2 H, D]
    maps.k = by_map_and_half(maps.k, kv_heads, false);  // [B, M, 2 Hkv, D]
    maps.v = by_map_and_half(maps.v, kv_heads, true);
    const int64_t batch = call.q.size(0), queries = call.q.size(1);
    const at::Tensor y =
        call.answer(std::move(maps))
            .view({batch, queries, kv_heads / 2, 2, options_.heads / kv_heads * 2,
                   options_.head_width});  // by pair, map; then half and head of the group
    return (y.select(3, 0) - lam.to(y.scalar_type()) * y.select(3, 1))
        .reshape({batch, queries, options_.heads, options_.head_width});
  }

  // y [B, N, H, D], heads by pair, half and group, to the layer's answer, heads by pair, group and
  // half: the halves of a pair are one vector of 2 D.
  at::Tensor normed(const at::Tensor& y) const {
    const int64_t batch = y.size(0), queries = y.size(1),
                  group = options_.heads / options_.kv_heads;
    const at::Tensor x =
        y.view({batch, queries, options_.kv_heads / 2, 2, group, options_.head_width})
            .transpose(3, 4)
            .reshape({batch, queries, options_.heads / 2, 2 * options_.head_width});
    const at::Tensor size = at::rsqrt((x * x).mean(-1, /*keepdim=*/true) + kNormEps);
    const at::Tensor scale = norm_->ready().to(x.scalar_type()) * (1 - start_);  // [2 D]
    return (x * size * scale).view(y.sizes());
  }

  Options options_;
  double start_;                       // lam0
  parallel::ParameterPtr factors_[4];  // [D]
  parallel::ParameterPtr norm_;        // [2 D]
};

}  // namespace

std::unique_ptr<Attention> make_diff(const Options& options, const std::string& prefix,
                                     parallel::ParameterList& parameters) {
  TORCH_CHECK(options.kv_heads % 2 == 0, prefix, ": DIFF pairs key-value heads, but there are ",
              options.kv_heads, " on a rank: choose an even number");
  return std::make_unique<Diff>(options, prefix, parameters);
}

}  // namespace dagpam::attention

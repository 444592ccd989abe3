#include "attention/reference.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

#include "parallel/device_dropout.h"
#include "parallel/random.h"
#include "parallel/random_rows.h"

namespace dagpam::attention::reference {
namespace {

at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, const at::Tensor& visible) {
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
  return visible_softmax(at::matmul(q, k.transpose(-2, -1)) * scale, visible);
}

template <typename T>
void fill_factors(const WeightDropout& dropout, const at::Tensor& to) {
  const int64_t heads = to.size(1), queries = to.size(2), keys = to.size(3);
  const at::Tensor samples = dropout.samples.to(at::kCPU).contiguous();
  parallel::DropoutRow row;
  row.key = parallel::key_on_host(dropout.key);
  row.threshold = parallel::dropout_threshold(dropout.p);
  row.keep_scale = 1 / (1 - dropout.p);
  T* out = to.mutable_data_ptr<T>();
  for (int64_t b = 0; b < to.size(0); ++b) {
    row.c3 = static_cast<uint32_t>(samples.const_data_ptr<int64_t>()[b]);
    for (int64_t h = 0; h < heads; ++h) {
      row.c2 = static_cast<uint32_t>(dropout.head_offset + h);
      for (int64_t n = 0; n < queries; ++n, out += keys) {
        row.c1 = static_cast<uint32_t>(n);
        parallel::fill_dropout_row(row, 0, keys, out);
      }
    }
  }
}

at::Tensor device_factors(const WeightDropout& dropout, const at::Tensor& to) {
  at::Tensor factors = to;
  parallel::apply_device_dropout({.threshold = parallel::dropout_threshold(dropout.p),
                                  .keep_scale = 1 / (1 - dropout.p),
                                  .rows = to.size(0) * to.size(1) * to.size(2),
                                  .width = to.size(3),
                                  .tokens = to.size(2),
                                  .heads = to.size(1),
                                  .first_head = dropout.head_offset},
                                 dropout.key, dropout.samples, {}, factors);
  return factors;
}

}  // namespace

at::Tensor visible_keys(const at::Tensor& bounds, int64_t keys, at::Device device) {
  const at::Tensor limits = bounds.to(device).unsqueeze(2).unsqueeze(4);  // [2, B or 1, 1, N, 1]
  const at::Tensor place = at::arange(keys, limits.options());            // [M]
  return limits.select(0, 0).le(place).logical_and(limits.select(0, 1).gt(place));
}

at::Tensor per_query_head(const at::Tensor& x, int64_t heads) {
  return x.repeat_interleave(heads / x.size(2), 2).transpose(1, 2);
}

// A row without a visible key is filled with equal scores first, for a finite gradient.
at::Tensor visible_softmax(const at::Tensor& scores, const at::Tensor& visible) {
  const at::Tensor hidden = visible.logical_not();
  const at::Tensor shown = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity())
                               .masked_fill(hidden.all(-1, /*keepdim=*/true), 0);
  return at::softmax(shown, -1).masked_fill(hidden, 0);
}

at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w) {
  return at::matmul(at::relu(q).transpose(1, 2), w).transpose(1, 2);
}

at::Tensor rotate(const at::Tensor& x, const Rotary& rotary) {
  const int64_t half = x.size(3) / 2;
  const at::Tensor cos = rotary.cos.to(x.options()).unsqueeze(-2);  // [B or none, N, 1, D / 2]
  const at::Tensor sin = rotary.sin.to(x.options()).unsqueeze(-2);
  const at::Tensor first = x.narrow(3, 0, half), second = x.narrow(3, half, half);
  return at::cat({first * cos - second * sin, second * cos + first * sin}, 3);
}

Answer attend(const Maps& maps, const WeightDropout* dropout) {
  const int64_t heads = maps.q.size(2);
  const at::Tensor k = per_query_head(maps.k, heads), v = per_query_head(maps.v, heads);
  Answer answer;
  answer.visible = visible_keys(maps.bounds, k.size(2), k.device());
  at::Tensor& weights = answer.weights;
  weights = probabilities(maps.q.transpose(1, 2), k, answer.visible);
  if (maps.q_neg.defined()) {
    const at::Tensor plus = maps.plus.view({-1, 1, 1}), minus = maps.minus.view({-1, 1, 1});
    answer.plus = weights;
    answer.minus = probabilities(maps.q_neg.transpose(1, 2), k, answer.visible);
    weights = (1 + plus) * answer.plus - minus * answer.minus;
  }
  if (dropout != nullptr) {
    weights = weights * dropout_factors(*dropout, weights.sizes(), weights.options());
  }
  answer.y = at::matmul(weights, v).transpose(1, 2);
  return answer;
}

at::Tensor dropout_factors(const WeightDropout& dropout, at::IntArrayRef shape,
                           const at::TensorOptions& options) {
  const bool wide = options.dtype() == at::kDouble;
  const at::Tensor factors =
      at::empty(shape, options.dtype(wide ? at::kDouble : at::kFloat).requires_grad(false));
  if (!factors.is_cpu()) return device_factors(dropout, factors).to(options);
  wide ? fill_factors<double>(dropout, factors) : fill_factors<float>(dropout, factors);
  return factors.to(options);
}

}  // namespace dagpam::attention::reference

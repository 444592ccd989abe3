#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstdint>

#include "parallel/device_dropout.h"
#include "parallel/random.h"
#include "parallel/random_rows.h"

namespace dagpam::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class Real>
void apply_mask(const at::Tensor& x, at::Tensor& y, const at::Tensor& samples, double p,
                uint64_t key, int64_t first_token) {
  constexpr int64_t kElementsPerTask = 16384;
  const int64_t tokens = x.size(1), width = x.size(2);
  const auto* in = x.const_data_ptr<Real>();
  auto* out = y.mutable_data_ptr<Real>();
  const auto* sample = samples.const_data_ptr<int64_t>();
  const DropoutRow whole{.key = key, .threshold = dropout_threshold(p), .keep_scale = 1 / (1 - p)};
  const int64_t rows_per_task =
      std::max<int64_t>(1, kElementsPerTask / std::max<int64_t>(1, width));
  at::parallel_for(0, x.size(0) * tokens, rows_per_task, [&](int64_t begin, int64_t end) {
    DropoutRow row = whole;
    for (int64_t i = begin; i < end; ++i) {
      row.c1 = static_cast<uint32_t>(first_token + i % tokens);
      row.c3 = static_cast<uint32_t>(sample[i / tokens]);
      apply_dropout_row(row, width, in + i * width, out + i * width);
    }
  });
}

at::Tensor masked(const at::Tensor& x, const at::Tensor& samples, double p, const DropoutKey& key,
                  int64_t first_token) {
  if (x.scalar_type() == at::kBFloat16) {
    return masked(x.to(at::kFloat), samples, p, key, first_token).to(at::kBFloat16);
  }
  at::Tensor y = at::empty_like(x);  // [B, T, C]
  if (!x.is_cpu()) {
    apply_device_dropout({.threshold = dropout_threshold(p),
                          .keep_scale = 1 / (1 - p),
                          .rows = x.size(0) * x.size(1),
                          .width = x.size(2),
                          .tokens = x.size(1),
                          .first_token = first_token},
                         key, samples, x, y);
  } else if (x.scalar_type() == at::kDouble) {
    apply_mask<double>(x, y, samples, p, key_on_host(key), first_token);
  } else {
    apply_mask<float>(x, y, samples, p, key_on_host(key), first_token);
  }
  return y;
}

// forward: x -> mask * x; backward: dy -> mask * dy, the mask drawn again.
struct DropoutFunction : torch::autograd::Function<DropoutFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& samples, double p, const DropoutKey& key,
                            int64_t first_token) {
    context->save_for_backward({samples, key.lying});
    context->saved_data["p"] = p;
    context->saved_data["key"] = static_cast<int64_t>(key.value);
    context->saved_data["first_token"] = first_token;
    return masked(x, samples, p, key, first_token);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const DropoutKey key(static_cast<uint64_t>(context->saved_data["key"].toInt()), saved[1]);
    return {dropout(grads[0].contiguous(), saved[0], context->saved_data["p"].toDouble(), key,
                    context->saved_data["first_token"].toInt()),
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& x, const at::Tensor& samples, double p, const DropoutKey& key,
                   int64_t first_token) {
  TORCH_CHECK(p >= 0 && p < 1, "dropout probability ", p, " is outside [0, 1)");
  if (p == 0) {
    return x;
  }
  TORCH_CHECK(x.dim() == 3 && x.is_contiguous(), "dropout takes a contiguous [B, T, C], not ",
              x.sizes(), " of strides ", x.strides());
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble ||
                  x.scalar_type() == at::kBFloat16,
              "dropout takes float32, float64 or bfloat16, not ", x.scalar_type());
  TORCH_CHECK(samples.device() == x.device() && samples.scalar_type() == at::kLong &&
                  samples.is_contiguous() && samples.dim() == 1 && samples.size(0) == x.size(0),
              "dropout of ", x.sizes(), " takes ", x.size(0), " sample indices (int64), not ",
              samples.sizes(), " of ", samples.scalar_type(), " on ", samples.device());
  return DropoutFunction::apply(x, samples, p, key, first_token);
}

}  // namespace dagpam::parallel

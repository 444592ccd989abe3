#include "parallel/linear.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "parallel/device_column_sum.h"
#include "parallel/reached_hook.h"

namespace dagpam::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [..., C] -> [R, C]
at::Tensor matrix(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t rows) {
    context->save_for_backward({x, weight, bias.value_or(at::Tensor())});
    context->saved_data["rows"] = rows;
    return at::linear(x, rows < weight.size(0) ? weight.narrow(0, 0, rows) : weight, bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2];
    const int64_t rows = context->saved_data["rows"].toInt();
    const at::Tensor dy = matrix(grads[0]);  // [R, Out]
    at::Tensor dx;
    if (context->needs_input_grad(0)) {
      dx = at::mm(dy, rows < weight.size(0) ? weight.narrow(0, 0, rows) : weight).view(x.sizes());
    }
    return {dx, weight_gradient(weight, dy, matrix(x)),
            bias.defined() ? bias_gradient(bias, dy) : at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x) {
  const int64_t rows = dy.size(1), padding = weight.size(0) - rows;
  GradientSum* const place = gradient_sum(weight);
  if (place == nullptr) {
    if (padding == 0) return at::mm(dy.t(), x);
    at::Tensor gradient = at::zeros_like(weight);
    at::Tensor real = gradient.narrow(0, 0, rows);
    at::mm_out(real, dy.t(), x);
    return gradient;
  }
  at::Tensor real = padding > 0 ? place->sum.narrow(0, 0, rows) : place->sum;
  if (place->begun) {
    real.addmm_(dy.t(), x);
  } else {
    at::mm_out(real, dy.t(), x);
    if (padding > 0) place->sum.narrow(0, rows, padding).zero_();
  }
  place->begun = true;
  return {};
}

at::Tensor bias_gradient(const at::Tensor& bias, const at::Tensor& dy) {
  GradientSum* const place = gradient_sum(bias);
  const bool add = place != nullptr && place->begun, device = has_device_column_sum(dy);
  if (place != nullptr) place->begun = true;
  if (device) {
    const at::Tensor out =
        place != nullptr ? place->sum : at::empty({dy.size(1)}, dy.options());  // [Out]
    device_column_sum(dy, add, out);
    return place != nullptr ? at::Tensor() : out;
  }
  if (place == nullptr) return at::sum(dy, {0});
  if (add) {
    place->sum.add_(at::sum(dy, {0}));
  } else {
    at::sum_out(place->sum, dy, {0});
  }
  return {};
}

at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias, int64_t rows) {
  const at::Tensor& w = weight.ready();
  return Linear::apply(x, w,
                       bias != nullptr ? std::optional<at::Tensor>(bias->ready()) : std::nullopt,
                       rows < 0 ? w.size(0) : rows);
}

}  // namespace dagpam::parallel

#include "trainer/kernels/fused_mlp.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>

#include "parallel/linear.h"
#include "trainer/kernels/device_activation.h"
#include "trainer/kernels/step_rows.h"
#include "trainer/kernels/typed_data.h"

namespace dagpam::trainer::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class Real>
ActivationRow<Real> row_of(const ActivationInput& in, const at::Tensor& a, int64_t r) {
  const int64_t width = a.size(-1), at = r * width;
  const bool gated = in.kind == Activation::kSwiglu;
  return {data_of<Real>(in.h) + at,
          data_of<Real>(in.bias),
          gated ? data_of<Real>(in.gate) + at : nullptr,
          data_of<Real>(in.gate_bias),
          data_of<Real>(a) + at,
          width};
}

template <class Real>
void forward_rows(const ActivationInput& in, const at::Tensor& a) {
  const StepRows<Real>& rows = step_rows<Real>();
  const auto act = in.kind == Activation::kRelu       ? rows.relu
                   : in.kind == Activation::kGelu     ? rows.gelu
                   : in.kind == Activation::kGeluTanh ? rows.gelu_tanh
                                                      : rows.swiglu;
  const int64_t width = a.size(-1);
  at::parallel_for(0, a.numel() / width, rows_a_task(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) act(row_of<Real>(in, a, r));
  });
}

// a <- the activation, da <- dh, dgate; biases [T, 2, M] sums of each thread.
template <class Real>
void backward_rows(const ActivationInput& in, const at::Tensor& a, const at::Tensor& da,
                   const at::Tensor& dgate, const at::Tensor& biases) {
  const StepRows<Real>& rows = step_rows<Real>();
  const auto act = in.kind == Activation::kRelu       ? rows.relu_gradient
                   : in.kind == Activation::kGelu     ? rows.gelu_gradient
                   : in.kind == Activation::kGeluTanh ? rows.gelu_tanh_gradient
                                                      : rows.swiglu_gradient;
  const int64_t width = a.size(-1);
  float* const sums = biases.defined() ? biases.mutable_data_ptr<float>() : nullptr;
  Real *const slope = data_of<Real>(da), *const gate = data_of<Real>(dgate);
  at::parallel_for(0, a.numel() / width, rows_a_task(width), [&](int64_t begin, int64_t end) {
    float* const own = sums != nullptr ? sums + at::get_thread_num() * 2 * width : nullptr;
    for (int64_t r = begin; r < end; ++r) {
      act({row_of<Real>(in, a, r), slope + r * width, gate != nullptr ? gate + r * width : nullptr,
           own, own != nullptr ? own + width : nullptr});
    }
  });
}

at::Tensor activated(const ActivationInput& in) {
  const at::Tensor a = at::empty_like(in.h);
  if (!a.is_cpu()) {
    device_activation(in, a);
    return a;
  }
  typed(a, [&](auto real) { forward_rows<decltype(real)>(in, a); });
  return a;
}

// a <- the activation, da <- dh, dgate; bias and gate_bias get their gradients where there are any.
void differentiate(const ActivationInput& in, const at::Tensor& a, const at::Tensor& da,
                   const at::Tensor& dgate, at::Tensor& bias, at::Tensor& gate_bias) {
  if (!a.is_cpu()) {
    device_activation_gradient(in, a, da, dgate, bias, gate_bias);
    return;
  }
  const at::Tensor sums = in.bias.defined() ? at::zeros({at::get_num_threads(), 2, a.size(1)},
                                                        a.options().dtype(at::kFloat))
                                            : at::Tensor();
  typed(a, [&](auto real) { backward_rows<decltype(real)>(in, a, da, dgate, sums); });
  const at::Tensor whole = sums.defined() ? sums.sum(0) : at::Tensor();  // [2, M]
  if (in.bias.defined()) bias = whole[0].to(in.bias.scalar_type());
  if (in.gate_bias.defined()) gate_bias = whole[1].to(in.gate_bias.scalar_type());
}

at::Tensor matrix(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

struct ActivatedProduct : torch::autograd::Function<ActivatedProduct> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& h,
                            const std::optional<at::Tensor>& bias,
                            const std::optional<at::Tensor>& gate,
                            const std::optional<at::Tensor>& gate_bias, const at::Tensor& down,
                            const std::optional<at::Tensor>& down_bias, Activation kind) {
    const ActivationInput in{kind, h, bias.value_or(at::Tensor()), gate.value_or(at::Tensor()),
                             gate_bias.value_or(at::Tensor())};
    context->save_for_backward(
        {h, in.bias, in.gate, in.gate_bias, down, down_bias.value_or(at::Tensor())});
    context->saved_data["kind"] = static_cast<int64_t>(kind);
    return at::linear(activated(in), down, down_bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const ActivationInput in{static_cast<Activation>(context->saved_data["kind"].toInt()), saved[0],
                             saved[1], saved[2], saved[3]};
    const at::Tensor &down = saved[4], &down_bias = saved[5];
    const at::Tensor dy = matrix(grads[0]);   // [R, C]
    const at::Tensor da = at::mm(dy, down);   // [R, M], then dh
    const at::Tensor a = at::empty_like(da);  // [R, M]
    const at::Tensor dgate = in.gate.defined() ? at::empty_like(da) : at::Tensor();
    at::Tensor bias, gate_bias;  // [M]
    differentiate(in, a, da, dgate, bias, gate_bias);
    return {da.view(in.h.sizes()),
            bias,
            dgate.defined() ? dgate.view(in.h.sizes()) : at::Tensor(),
            gate_bias,
            parallel::weight_gradient(down, dy, a),
            down_bias.defined() ? parallel::bias_gradient(down_bias, dy) : at::Tensor(),
            at::Tensor()};
  }
};

std::optional<at::Tensor> given(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}

bool takes(const ActivationInput& in, const at::Tensor& down) {
  const auto fits = [&](const at::Tensor& x) {
    return !x.defined() || (x.is_contiguous() && x.scalar_type() == in.h.scalar_type());
  };
  return fuses_activation(in.h) && in.h.numel() > 0 && fits(in.h) && fits(in.bias) &&
         fits(in.gate) && fits(in.gate_bias) && fits(down);
}

}  // namespace

bool fuses_activation(const at::Tensor& x) {
  const bool narrow_enough = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  return has_rows(x) || (x.is_cuda() && narrow_enough && has_device_activation());
}

at::Tensor plain_activation(const ActivationInput& in) {
  const auto with = [](const at::Tensor& x, const at::Tensor& bias) {
    return bias.defined() ? at::add(x, bias) : x;
  };
  const at::Tensor h = with(in.h, in.bias);
  switch (in.kind) {
    case Activation::kRelu:
      return at::relu(h);
    case Activation::kGelu:
      return at::gelu(h);
    case Activation::kGeluTanh:
      return at::gelu(h, "tanh");
    case Activation::kSwiglu:
      return at::mul(at::silu(with(in.gate, in.gate_bias)), h);
  }
  return {};
}

at::Tensor activated_product(const ActivationInput& in, parallel::Parameter& down,
                             parallel::Parameter* down_bias) {
  if (!takes(in, down.value)) return parallel::linear(plain_activation(in), down, down_bias);
  return ActivatedProduct::apply(
      in.h, given(in.bias), given(in.gate), given(in.gate_bias), down.ready(),
      given(down_bias != nullptr ? down_bias->ready() : at::Tensor()), in.kind);
}

}  // namespace dagpam::trainer::kernels

#include "trainer/kernels/fused_norm.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "trainer/kernels/device_norm.h"
#include "trainer/kernels/step_rows.h"
#include "trainer/kernels/typed_data.h"

namespace dagpam::trainer::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// s [R, C] <- x + y where y is given (else s is x), normed [R, C], stats [R, 2].
template <class Real>
void forward_rows(const at::Tensor& x, const at::Tensor& y, const at::Tensor& s,
                  const at::Tensor& weight, const at::Tensor& bias, const NormOptions& options,
                  const at::Tensor& normed, const at::Tensor& stats) {
  const StepRows<Real>& rows = step_rows<Real>();
  const int64_t width = x.size(-1);
  const Real *in = data_of<Real>(x), *added = data_of<Real>(y);
  Real *sum = data_of<Real>(s), *out = data_of<Real>(normed);
  auto* const kept = stats.mutable_data_ptr<float>();
  at::parallel_for(0, stats.size(0), rows_a_task(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = r * width;
      if (added != nullptr) rows.add(in + at, added + at, sum + at, width);
      const NormStats row =
          rows.norm({sum + at, data_of<Real>(weight), data_of<Real>(bias), out + at, width,
                     static_cast<float>(options.eps), options.rms});
      kept[2 * r] = row.mean;
      kept[2 * r + 1] = row.scale;
    }
  });
}

// dx [R, C]; weights [T, 2, C] sums of each thread.
template <class Real>
void backward_rows(const at::Tensor& dy, const at::Tensor& s, const at::Tensor& weight,
                   const at::Tensor& add, const at::Tensor& stats, bool rms, const at::Tensor& dx,
                   const at::Tensor& weights) {
  const StepRows<Real>& rows = step_rows<Real>();
  const int64_t width = s.size(-1);
  const auto* const kept = stats.const_data_ptr<float>();
  auto* const sums = weights.mutable_data_ptr<float>();
  const Real *slope = data_of<Real>(dy), *in = data_of<Real>(s), *more = data_of<Real>(add);
  Real* const out = data_of<Real>(dx);
  at::parallel_for(0, stats.size(0), rows_a_task(width), [&](int64_t begin, int64_t end) {
    float* const own = sums + at::get_thread_num() * 2 * width;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = r * width;
      rows.norm_gradient({slope + at,
                          in + at,
                          data_of<Real>(weight),
                          more != nullptr ? more + at : nullptr,
                          out + at,
                          own,
                          own + width,
                          width,
                          {kept[2 * r], kept[2 * r + 1]},
                          rms});
    }
  });
}

struct AddNorm : torch::autograd::Function<AddNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const std::optional<at::Tensor>& y, const at::Tensor& weight,
                               const std::optional<at::Tensor>& bias, const NormOptions& options) {
    const at::Tensor s = y ? at::empty_like(x) : x;
    const at::Tensor normed = at::empty_like(x);
    const at::Tensor stats = at::empty({x.numel() / x.size(-1), 2}, x.options().dtype(at::kFloat));
    const at::Tensor added = y.value_or(at::Tensor()), shift = bias.value_or(at::Tensor());
    if (x.is_cpu()) {
      typed(x, [&](auto real) {
        forward_rows<decltype(real)>(x, added, s, weight, shift, options, normed, stats);
      });
    } else {
      device_norm({x, added, weight, shift, options, s, normed, stats});
    }
    context->save_for_backward({s, weight, shift, stats});
    context->saved_data["rms"] = options.rms;
    context->saved_data["added"] = y.has_value();
    context->set_materialize_grads(false);
    return y ? variable_list{s, normed} : variable_list{normed};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &s = saved[0], &weight = saved[1], &bias = saved[2], &stats = saved[3];
    const bool added = context->saved_data["added"].toBool();
    const at::Tensor through = added ? grads[0] : at::Tensor();  // what goes on with s
    const at::Tensor& dy = grads.back();
    if (!dy.defined()) return {through, through, {}, {}, {}};
    const bool rms = context->saved_data["rms"].toBool();
    const at::Tensor dx = at::empty_like(s);
    const at::Tensor slope = dy.contiguous();
    const at::Tensor more = through.defined() ? through.contiguous() : at::Tensor();
    at::Tensor dweight, dbias;
    if (s.is_cpu()) {
      const int64_t width = s.size(-1), threads = at::get_num_threads();
      const at::Tensor sums = at::zeros({threads, 2, width}, stats.options());  // weight, bias
      typed(s, [&](auto real) {
        backward_rows<decltype(real)>(slope, s, weight, more, stats, rms, dx, sums);
      });
      const at::Tensor whole = threads == 1 ? sums[0] : sums.sum(0);
      dweight = whole[0].to(weight.scalar_type());
      if (bias.defined()) dbias = whole[1].to(bias.scalar_type());
    } else {
      dweight = at::empty_like(weight);
      if (bias.defined()) dbias = at::empty_like(bias);
      device_norm_gradient({slope, s, more, weight, stats, rms, dx, dweight, dbias});
    }
    return {dx, added ? dx : at::Tensor(), dweight, dbias, at::Tensor()};
  }
};

// Whether there are kernels for these rows.
bool served(const at::Tensor& x) {
  if (!x.is_cuda()) return has_rows(x);
  return (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) &&
         has_device_norm(x.size(-1));
}

bool takes(const at::Tensor& x, const at::Tensor& y, const at::Tensor& weight) {
  return served(x) && x.is_contiguous() && x.numel() > 0 &&
         x.scalar_type() == weight.scalar_type() &&
         (!y.defined() ||
          (y.is_contiguous() && y.sizes() == x.sizes() && y.scalar_type() == x.scalar_type()));
}

std::optional<at::Tensor> given(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}

}  // namespace

at::Tensor plain_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const NormOptions& options) {
  if (options.rms) return at::rms_norm(x, {x.size(-1)}, weight, options.eps);
  return at::layer_norm(x, {x.size(-1)}, weight, bias, options.eps);
}

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                const NormOptions& options) {
  if (!takes(x, {}, weight)) return plain_norm(x, weight, bias, options);
  return AddNorm::apply(x, std::nullopt, weight, given(bias), options)[0];
}

std::pair<at::Tensor, at::Tensor> add_norm(const at::Tensor& x, const at::Tensor& y,
                                           const at::Tensor& weight, const at::Tensor& bias,
                                           const NormOptions& options) {
  if (!y.defined()) return {x, norm(x, weight, bias, options)};
  if (!takes(x, y, weight)) {
    const at::Tensor s = at::add(x, y);
    return {s, plain_norm(s, weight, bias, options)};
  }
  const variable_list both = AddNorm::apply(x, given(y), weight, given(bias), options);
  return {both[0], both[1]};
}

}  // namespace dagpam::trainer::kernels

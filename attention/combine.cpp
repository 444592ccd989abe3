#include "attention/combine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <tuple>

#include "attention/combine_row.h"
#include "attention/device_combine.h"

namespace dagpam::attention {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

CombineShape shape_of(const at::Tensor& both, const at::Tensor& plus) {
  CombineShape s;
  s.batch = both.size(0);
  s.queries = both.size(1);
  s.heads = both.size(2) / 2;
  s.width = both.size(3);
  s.batch_step = both.stride(0);
  s.query_step = both.stride(1);
  s.head_step = both.stride(2);
  s.one_lambda = plus.numel() == 1;
  return s;
}

// The CPU's loops: the kernels' functions, an element at a time.
template <class Real>
void host_combine(const CombineShape& s, const float* plus, const float* minus, const void* both,
                  void* y) {
  for (int64_t token = 0; token < s.batch * s.queries; ++token) {
    for (int64_t head = 0; head < s.heads; ++head) {
      for (int64_t i = 0; i < s.width; ++i) {
        combine_pack<1>(s, plus, minus, token, head, i, static_cast<const Real*>(both),
                        static_cast<Real*>(y));
      }
    }
  }
}

template <class Real>
void host_backward(const CombineShape& s, const float* plus, const float* minus, const void* both,
                   const void* dy, void* d_both, double* sums) {
  for (int64_t token = 0; token < s.batch * s.queries; ++token) {
    for (int64_t head = 0; head < s.heads; ++head) {
      CombineSums row;
      for (int64_t i = 0; i < s.width; ++i) {
        combine_pack_backward<1>(s, plus, minus, token, head, i, static_cast<const Real*>(both),
                                 static_cast<const Real*>(dy), static_cast<Real*>(d_both), &row);
      }
      sums[2 * head] += static_cast<double>(row.plus);
      sums[2 * head + 1] += static_cast<double>(row.minus);
    }
  }
}

at::Tensor forward_of(const CombineShape& s, const at::Tensor& both, const at::Tensor& plus,
                      const at::Tensor& minus) {
  if (both.is_cuda()) return device_combine(s, both, plus, minus);
  at::Tensor y = at::empty({s.batch, s.queries, s.heads, s.width}, both.options());
  (both.scalar_type() == at::kFloat
       ? host_combine<float>
       : host_combine<Bits16>)(s, plus.const_data_ptr<float>(), minus.const_data_ptr<float>(),
                               both.const_data_ptr(), y.mutable_data_ptr());
  return y;
}

// d_both, and the sums of dY O+ and dY O- by head, float32 [H, 2].
std::tuple<at::Tensor, at::Tensor> backward_of(const CombineShape& s, const at::Tensor& both,
                                               const at::Tensor& plus, const at::Tensor& minus,
                                               const at::Tensor& dy) {
  if (both.is_cuda()) {
    at::Tensor sums;
    const at::Tensor d_both = device_combine_backward(s, both, plus, minus, dy, sums);
    return {d_both, sums};
  }
  const at::Tensor d_both = at::empty({s.batch, s.queries, 2 * s.heads, s.width}, both.options());
  const at::Tensor sums = at::empty({s.heads, 2}, both.options().dtype(at::kDouble)).zero_();
  (both.scalar_type() == at::kFloat
       ? host_backward<float>
       : host_backward<Bits16>)(s, plus.const_data_ptr<float>(), minus.const_data_ptr<float>(),
                                both.const_data_ptr(), dy.const_data_ptr(),
                                d_both.mutable_data_ptr(), sums.mutable_data_ptr<double>());
  return {d_both, sums.to(at::kFloat)};
}

struct Combine : torch::autograd::Function<Combine> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& both, const at::Tensor& plus,
                            const at::Tensor& minus) {
    ctx->save_for_backward({both, plus, minus});
    return forward_of(shape_of(both, plus), both, plus, minus);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    TORCH_CHECK(!c10::GradMode::is_enabled(),
                "the composed attention path has first derivatives only: set Options::reference "
                "for others");
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &both = saved[0], &plus = saved[1], &minus = saved[2];
    const CombineShape s = shape_of(both, plus);
    auto [d_both, sums] = backward_of(s, both, plus, minus, grads[0].contiguous());
    if (s.one_lambda) sums = sums.sum(0, /*keepdim=*/true);  // [1, 2]
    return {d_both, sums.select(1, 0), sums.select(1, 1).neg()};
  }
};

}  // namespace

at::Tensor plain_combine(const at::Tensor& both, const at::Tensor& plus, const at::Tensor& minus) {
  const auto parts = both.unflatten(2, {both.size(2) / 2, 2});  // [B, N, H, 2, D]
  const at::Tensor a = 1 + plus.unsqueeze(1), b = minus.unsqueeze(1);
  return (a * parts.select(3, 0) - b * parts.select(3, 1)).to(both.scalar_type()).contiguous();
}

at::Tensor combine(const at::Tensor& both, const at::Tensor& plus, const at::Tensor& minus) {
  TORCH_CHECK(both.dim() == 4 && both.size(2) % 2 == 0, "both is ", both.sizes(),
              ", expected [B, N, 2 H, D]");
  const bool half = both.scalar_type() == at::kBFloat16 || both.scalar_type() == at::kHalf;
  const at::ScalarType type = half ? at::kFloat : both.scalar_type();
  const at::Tensor l_plus = plus.to(type), l_minus = minus.to(type);
  const bool served = both.scalar_type() == at::kFloat || both.scalar_type() == at::kBFloat16;
  if (!served || !(both.is_cuda() || both.is_cpu())) return plain_combine(both, l_plus, l_minus);
  const at::Tensor dense = both.stride(3) == 1 ? both : both.contiguous();
  return Combine::apply(dense, l_plus.contiguous(), l_minus.contiguous());
}

}  // namespace dagpam::attention

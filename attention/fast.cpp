#include "attention/fast.h"

#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "attention/cpu_attention.h"

namespace dagpam::attention::fast {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

void check_first_derivative() {
  TORCH_CHECK(
      !c10::GradMode::is_enabled(),
      "the fast attention path has first derivatives only: set Options::reference for others");
}

class Attend : public Function<Attend> {
 public:
  // Autograd takes an absent tensor as an optional, not as an undefined one.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q,
                            const std::optional<at::Tensor>& q_neg, const at::Tensor& k,
                            const at::Tensor& v, const std::optional<at::Tensor>& plus,
                            const std::optional<at::Tensor>& minus, const at::Tensor& bounds,
                            const WeightDropout* dropout) {
    const Maps maps{q,     q_neg.value_or(at::Tensor()), k,
                    v,     plus.value_or(at::Tensor()),  minus.value_or(at::Tensor()),
                    bounds};
    const cpu::Answer answer = cpu::attend(maps, dropout);
    ctx->save_for_backward({q, maps.q_neg, k, v, maps.plus, maps.minus, bounds, answer.lse,
                            dropout != nullptr ? dropout->samples : at::Tensor()});
    if (dropout != nullptr) {
      ctx->saved_data["p"] = dropout->p;
      ctx->saved_data["key"] = static_cast<int64_t>(parallel::key_on_host(dropout->key));
      ctx->saved_data["head_offset"] = dropout->head_offset;
    }
    return answer.y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    check_first_derivative();
    const variable_list saved = ctx->get_saved_variables();
    const Maps maps{saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6]};
    WeightDropout dropout;
    dropout.samples = saved[8];
    if (dropout.samples.defined()) {
      dropout.p = ctx->saved_data["p"].toDouble();
      dropout.key = parallel::DropoutKey(static_cast<uint64_t>(ctx->saved_data["key"].toInt()));
      dropout.head_offset = ctx->saved_data["head_offset"].toInt();
    }
    const cpu::MapsGradients g =
        cpu::attend_backward(maps, dropout.samples.defined() ? &dropout : nullptr, saved[7], dy[0]);
    return {g.q, g.q_neg, g.k, g.v, g.plus, g.minus, at::Tensor(), at::Tensor()};
  }
};

class MapQueries : public Function<MapQueries> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& w,
                            bool residual) {
    ctx->save_for_backward({q, w});
    ctx->saved_data["residual"] = residual;
    return cpu::map_queries(q, w, residual);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_out) {
    check_first_derivative();
    const variable_list saved = ctx->get_saved_variables();
    const cpu::HeadMapTensors g = cpu::map_queries_backward(
        saved[0], saved[1], ctx->saved_data["residual"].toBool(), d_out[0]);
    return {g.dq, g.dw, at::Tensor()};
  }
};

class Rotate : public Function<Rotate> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return cpu::rotate(x, cos, sin, 1);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_out) {
    check_first_derivative();
    const variable_list saved = ctx->get_saved_variables();
    return {cpu::rotate(d_out[0], saved[0], saved[1], -1), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor attend(const Maps& maps, const WeightDropout* dropout) {
  const auto given = [](const at::Tensor& x) {
    return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
  };
  return Attend::apply(maps.q, given(maps.q_neg), maps.k, maps.v, given(maps.plus),
                       given(maps.minus), maps.bounds, dropout);
}

at::Tensor map_queries(const at::Tensor& q, const at::Tensor& w, bool residual) {
  return MapQueries::apply(q, w, residual);
}

at::Tensor rotate(const at::Tensor& x, const Rotary& rotary) {
  return Rotate::apply(x, rotary.cos.to(x.scalar_type()).contiguous(),
                       rotary.sin.to(x.scalar_type()).contiguous());
}

}  // namespace dagpam::attention::fast

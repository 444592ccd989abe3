#include "attention/weighting.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/matmul.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <optional>
#include <utility>

#include "attention/reference.h"

namespace dagpam::attention {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// All of a call but its inputs with gradients: q, k, v, then the variant's own parameters.
struct Problem : torch::CustomClassHolder {
  Problem(Weighting given, const WeightDropout* given_dropout, at::Tensor given_bounds)
      : weighting(std::move(given)), bounds(std::move(given_bounds)) {
    if (given_dropout != nullptr) dropout = *given_dropout;
  }

  at::Tensor answer(at::TensorList in, SeenWeights* seen = nullptr) const {
    const at::ScalarType type = in[0].scalar_type();
    const auto wide = [type](const at::Tensor& x) {
      return x.to(type == at::kDouble ? at::kDouble : at::kFloat);
    };
    const int64_t heads = in[0].size(2);
    Scores scores;
    scores.q = wide(in[0]).transpose(1, 2);
    scores.k = reference::per_query_head(wide(in[1]), heads);
    scores.visible = reference::visible_keys(bounds, in[1].size(1), in[0].device());
    for (const at::Tensor& x : in.slice(3)) scores.own.push_back(wide(x));
    at::Tensor weights = weighting(scores).masked_fill(scores.visible.logical_not(), 0);
    if (dropout) {
      weights = weights * reference::dropout_factors(*dropout, weights.sizes(), weights.options());
    }
    if (seen != nullptr) {
      seen->weights = weights;
      seen->visible = scores.visible;
    }
    const at::Tensor v = reference::per_query_head(wide(in[2]), heads);
    return at::matmul(weights, v).transpose(1, 2).contiguous().to(type);
  }

  Weighting weighting;
  std::optional<WeightDropout> dropout;
  at::Tensor bounds;
};
using ProblemPtr = c10::intrusive_ptr<Problem>;

struct Attend : torch::autograd::Function<Attend> {
  static at::Tensor forward(AutogradContext* context, const ProblemPtr& problem,
                            at::TensorList inputs) {
    context->saved_data["problem"] = c10::IValue::make_capsule(problem);
    context->save_for_backward(inputs.vec());
    return problem->answer(inputs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "this attention has first derivatives only: set Options::reference for others");
    const at::AutoGradMode with_grad(true);
    const auto capsule = context->saved_data.at("problem").toCapsule();
    const auto& problem = static_cast<const Problem&>(*capsule);
    variable_list leaves, wanted;
    for (const at::Tensor& input : context->get_saved_variables()) {
      leaves.push_back(input.detach().set_requires_grad(input.requires_grad()));
      if (input.requires_grad()) wanted.push_back(leaves.back());
    }
    const variable_list found = torch::autograd::grad({problem.answer(leaves)}, wanted, {grads[0]});
    variable_list out{{}};  // for the problem
    size_t next = 0;
    for (const at::Tensor& leaf : leaves) {
      out.push_back(leaf.requires_grad() ? found[next++] : at::Tensor());
    }
    return out;
  }
};

}  // namespace

at::Tensor Scores::products() const { return at::matmul(q, k.transpose(-2, -1)); }

at::Tensor Scores::scaled() const {
  return products() * (1 / std::sqrt(static_cast<double>(q.size(-1))));
}

at::Tensor Scores::visible_count() const {
  return visible.sum(-1, /*keepdim=*/true).clamp_min(1).to(q.scalar_type());
}

at::Tensor attend_weighted(const Maps& maps, const WeightDropout* dropout,
                           const std::vector<at::Tensor>& own, const Weighting& weighting,
                           const WeightingOptions& options) {
  const auto problem = c10::make_intrusive<Problem>(weighting, dropout, maps.bounds);
  variable_list inputs{maps.q, maps.k, maps.v};
  inputs.insert(inputs.end(), own.begin(), own.end());
  if (options.kept || !at::GradMode::is_enabled()) return problem->answer(inputs, options.seen);
  return Attend::apply(problem, at::TensorList(inputs));
}

}  // namespace dagpam::attention

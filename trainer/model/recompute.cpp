#include "trainer/model/recompute.h"

#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace dagpam::trainer {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a node of the graph keeps besides tensors.
struct Holder : torch::CustomClassHolder {
  explicit Holder(RecomputedFn f) : fn(std::move(f)) {}
  RecomputedFn fn;
};
using HolderPtr = c10::intrusive_ptr<Holder>;

struct Recompute : torch::autograd::Function<Recompute> {
  static at::Tensor forward(AutogradContext* context, const HolderPtr& holder,
                            at::TensorList inputs) {
    context->saved_data["holder"] = c10::IValue::make_capsule(holder);
    context->save_for_backward(inputs.vec());
    return holder->fn(inputs.vec());
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::AutoGradMode with_grad(true);
    const auto capsule = context->saved_data.at("holder").toCapsule();
    const auto& holder = static_cast<const Holder&>(*capsule);
    variable_list leaves;
    for (const at::Tensor& input : context->get_saved_variables()) {
      leaves.push_back(input.detach().set_requires_grad(input.requires_grad()));
    }
    const at::Tensor output = holder.fn(leaves);
    torch::autograd::backward({output}, {grads[0]});
    variable_list out{{}};  // for the holder
    for (const at::Tensor& leaf : leaves) out.push_back(leaf.grad());
    return out;
  }
};

}  // namespace

at::Tensor recomputed(const std::vector<at::Tensor>& inputs, const RecomputedFn& fn) {
  if (!at::GradMode::is_enabled()) return fn(inputs);
  return Recompute::apply(c10::make_intrusive<Holder>(fn), at::TensorList(inputs));
}

}  // namespace dagpam::trainer

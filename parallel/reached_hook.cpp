#include "parallel/reached_hook.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstdint>
#include <utility>

namespace dagpam::parallel {
namespace {

using torch::autograd::variable_list;

// On the node that accumulates into a parameter's .grad. That node runs once a backward, after all
// uses of the parameter, also where none of them gave it a gradient: a hook of the accumulation
// would then not be called.
class ReachedHook : public torch::autograd::FunctionPostHook {
 public:
  ReachedHook(std::function<void()> reached, GradientSum* sum)
      : reached_(std::move(reached)), sum_(sum) {}
  variable_list operator()(const variable_list& outputs, const variable_list&) override {
    reached_();
    return outputs;
  }
  GradientSum* sum() const { return sum_; }

 private:
  std::function<void()> reached_;
  GradientSum* sum_;
};

}  // namespace

// The node belongs to the graph; as long as a hook is on it, it is kept.
struct ReachedHooks::Hooked {
  ParameterPtr parameter;
  std::shared_ptr<torch::autograd::Node> node;
  uintptr_t key = 0;
};

GradientSum* gradient_sum(const at::Tensor& parameter_value) {
  const auto node = torch::autograd::impl::try_get_grad_accumulator(parameter_value);
  if (!node) return nullptr;
  for (const auto& hook : std::as_const(*node).post_hooks()) {
    if (const auto* ours = dynamic_cast<const ReachedHook*>(hook.get())) return ours->sum();
  }
  return nullptr;
}

void ReachedHooks::add(const ParameterPtr& parameter, std::function<void()> reached,
                       GradientSum* sum) {
  parameter->value.mutable_grad() = at::Tensor();
  auto hooked = std::make_shared<Hooked>();
  hooked->parameter = parameter;
  hooked->node = torch::autograd::impl::grad_accumulator(parameter->value);
  hooked->key = hooked->node->add_post_hook(std::make_unique<ReachedHook>(std::move(reached), sum));
  hooked_.push_back(std::move(hooked));
}

ReachedHooks::~ReachedHooks() {
  for (const auto& hooked : hooked_) {
    hooked->parameter->value.mutable_grad() = at::Tensor();
    hooked->node->del_post_hook(hooked->key);
  }
}

}  // namespace dagpam::parallel

#include "parallel/reached_hook.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

namespace dagpam::parallel {
namespace {

// What autograd calls after it has accumulated into a parameter's .grad.
class ReachedHook : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit ReachedHook(std::function<void()> reached) : reached_(std::move(reached)) {}
  void operator()(const torch::autograd::Variable&) override { reached_(); }

 private:
  std::function<void()> reached_;
};

}  // namespace

void ReachedHooks::add(const ParameterPtr& parameter, std::function<void()> reached) {
  parameter->value.mutable_grad() = at::Tensor();
  torch::autograd::impl::set_post_acc_grad_hooks(parameter->value,
                                                 std::make_unique<ReachedHook>(std::move(reached)));
  hooked_.push_back(parameter);
}

ReachedHooks::~ReachedHooks() {
  for (const ParameterPtr& parameter : hooked_) {
    parameter->value.mutable_grad() = at::Tensor();
    torch::autograd::impl::set_post_acc_grad_hooks(parameter->value, nullptr);
  }
}

}  // namespace dagpam::parallel

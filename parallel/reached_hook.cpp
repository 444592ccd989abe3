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

void hook_gradient(const Parameter& parameter, std::function<void()> reached) {
  parameter.value.mutable_grad() = at::Tensor();
  torch::autograd::impl::set_post_acc_grad_hooks(
      parameter.value, reached ? std::make_unique<ReachedHook>(std::move(reached)) : nullptr);
}

}  // namespace dagpam::parallel

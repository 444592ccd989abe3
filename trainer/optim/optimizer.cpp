#include "trainer/optim/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/add.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace dagpam::trainer {

namespace {

using parallel::ParameterSlice;

// Slices that share a weight decay, as the fused kernels take them.
struct Group {
  double decay = 0;
  std::vector<ParameterSlice> slices;
  std::vector<at::Tensor> values, gradients, first, second, steps;
};

std::vector<Group> make_groups(const std::vector<ParameterSlice>& slices, double decay) {
  std::vector<Group> groups(2);
  groups[0].decay = decay;
  for (const ParameterSlice& slice : slices) {
    Group& group = groups[slice.parameter->decay ? 0 : 1];
    group.slices.push_back(slice);
    group.values.push_back(slice.value);
    group.gradients.push_back(slice.grad);
  }
  std::erase_if(groups, [](const Group& group) { return group.slices.empty(); });
  return groups;
}

std::vector<at::Tensor> zeros_for(const Group& group) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& value : group.values) all.push_back(at::zeros_like(value));
  return all;
}

void append_state(const char* kind, const Group& group, const std::vector<at::Tensor>& tensors,
                  std::vector<StateTensor>& out) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    out.push_back({kind, group.slices[i].parameter, group.slices[i].first_row, tensors[i]});
  }
}

class AdamW : public Optimizer {
 public:
  AdamW(const configs::OptimizerConfig& config, const std::vector<ParameterSlice>& slices)
      : config_(config), groups_(make_groups(slices, config.weight_decay())) {
    if (!groups_.empty()) step_ = at::zeros({}, groups_.front().values.front().options());
    for (Group& group : groups_) {
      group.first = zeros_for(group);
      group.second = zeros_for(group);
      group.steps.assign(group.values.size(), step_);
    }
  }

  void step(double rate, const at::Tensor& divisor, const at::Tensor& found_inf) override {
    const at::NoGradGuard no_grad;
    if (step_.defined()) step_.add_(1);
    for (Group& group : groups_) {
      at::_fused_adamw_(group.values, group.gradients, group.first, group.second, {}, group.steps,
                        rate, config_.betas(0), config_.betas(1), group.decay, config_.eps(),
                        /*amsgrad=*/false, /*maximize=*/false, divisor, found_inf);
    }
  }

  std::vector<StateTensor> state() const override {
    std::vector<StateTensor> all;
    for (const Group& group : groups_) {
      append_state("exp_avg", group, group.first, all);
      append_state("exp_avg_sq", group, group.second, all);
    }
    return all;
  }

  void set_steps(int64_t steps) override {
    if (step_.defined()) step_.fill_(steps);
  }

 private:
  configs::OptimizerConfig config_;
  std::vector<Group> groups_;
  at::Tensor step_;  // shared by all parameters
};

class Sgd : public Optimizer {
 public:
  Sgd(const configs::OptimizerConfig& config, const std::vector<ParameterSlice>& slices)
      : config_(config), groups_(make_groups(slices, config.weight_decay())) {
    for (Group& group : groups_) {
      if (config.momentum() != 0) group.first = zeros_for(group);
    }
  }

  void step(double rate, const at::Tensor& divisor, const at::Tensor& found_inf) override {
    const at::NoGradGuard no_grad;
    for (Group& group : groups_) {
      // A buffer of zeros makes the first step's buffer the gradient itself, as is_first_step
      // would.
      at::_fused_sgd_(group.values, group.gradients, group.first, group.decay, config_.momentum(),
                      rate, /*dampening=*/0, /*nesterov=*/false, /*maximize=*/false,
                      /*is_first_step=*/false, divisor, found_inf);
    }
  }

  std::vector<StateTensor> state() const override {
    std::vector<StateTensor> all;
    for (const Group& group : groups_) append_state("momentum", group, group.first, all);
    return all;
  }

  void set_steps(int64_t) override {}

 private:
  configs::OptimizerConfig config_;
  std::vector<Group> groups_;
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const configs::OptimizerConfig& config,
                                          const std::vector<ParameterSlice>& slices) {
  if (config.kind() == configs::OptimizerConfig::SGD) {
    return std::make_unique<Sgd>(config, slices);
  }
  return std::make_unique<AdamW>(config, slices);
}

}  // namespace dagpam::trainer

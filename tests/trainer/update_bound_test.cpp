// Two copies of a parameter, updated with gradients that differ by little, against the bound.
#include "trainer/update_bound.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "configs/run.pb.h"
#include "trainer/optim/optimizer.h"

namespace dagpam::trainer {
namespace {

constexpr int64_t kEntries = 4096;
constexpr double kRate = 1e-2;

// One parameter of kEntries values with its optimizer.
class Copy {
 public:
  explicit Copy(const configs::OptimizerConfig& config) {
    parameter_ = list_.add("p", {kEntries}, parallel::Init::constant(0));
    list_.initialise(1);
    const c10::AutoGradMode no_grad(false);
    grad_ = at::zeros({kEntries});
    optimizer_ = make_optimizer(config, {{parameter_, 0, parameter_->value.detach(), grad_}});
  }

  void update(const at::Tensor& gradient) {
    grad_.copy_(gradient);
    optimizer_->step(kRate, at::full({}, 1.0), at::zeros({}));
  }

  at::Tensor value() const { return parameter_->value.detach(); }
  at::Tensor second() const {
    for (const StateTensor& state : optimizer_->state()) {
      if (state.kind == "exp_avg_sq") return state.value;
    }
    return {};
  }

 private:
  parallel::ParameterList list_;
  parallel::ParameterPtr parameter_;
  at::Tensor grad_;
  std::unique_ptr<Optimizer> optimizer_;
};

struct Case {
  const char* name;
  configs::OptimizerConfig::Kind kind;
  double beta2, momentum;
};

configs::OptimizerConfig optimizer_config(const Case& of) {
  configs::OptimizerConfig config;
  config.set_kind(of.kind);
  config.add_betas(0.9);
  config.add_betas(of.beta2);
  config.set_momentum(of.momentum);
  return config;
}

class UpdateBoundTest : public testing::TestWithParam<Case> {};

// Gradients from 1 down to 1e-12, far below Adam's eps and below their own difference of 1e-7.
TEST_P(UpdateBoundTest, HoldsForEveryEntryAndIsTightWhereGradientsAreLarge) {
  constexpr double kDifference = 1e-7, kRounding = 3e-7;
  const configs::OptimizerConfig config = optimizer_config(GetParam());
  Copy one(config), other(config);
  UpdateBound bound(config, at::zeros({kEntries}));
  const at::Generator draw = at::detail::createCPUGenerator(/*seed=*/7);
  const at::Tensor size = at::pow(10.0, at::rand({kEntries}, draw).mul_(-12));
  double worst = 0;
  for (int64_t step = 1; step <= 50; ++step) {
    const at::Tensor gradient = at::randn({kEntries}, draw).mul_(size);
    const at::Tensor noise = at::rand({kEntries}, draw).mul_(2).sub_(1).mul_(kDifference);
    one.update(gradient);
    other.update(gradient.add(noise));
    const double rounding = kRounding * gradient.abs().max().item<double>();
    bound.add_update(step, kRate, kDifference + rounding, one.value(), one.second());
    const at::Tensor apart = one.value().sub(other.value()).abs().to(at::kDouble);
    worst = std::max(worst, apart.div(bound.allowed()).max().item<double>());
    ASSERT_LE(worst, 1) << "step " << step;
  }
  EXPECT_GT(worst, 0.02) << "the bound is far wider than what happens";
  // Of entries with a large gradient a lost update, which is of the size of the rate, shows; not of
  // the few among them whose draws were all small.
  const at::Tensor large = bound.allowed().masked_select(size.gt(0.1));
  EXPECT_GT(large.lt(0.05 * kRate).to(at::kDouble).mean().item<double>(), 0.98);
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, UpdateBoundTest,
    testing::Values(Case{"Adam", configs::OptimizerConfig::ADAMW, 0.95, 0},
                    Case{"AdamLongMemory", configs::OptimizerConfig::ADAMW, 0.999, 0},
                    Case{"Sgd", configs::OptimizerConfig::SGD, 0.95, 0},
                    Case{"SgdMomentum", configs::OptimizerConfig::SGD, 0.95, 0.9}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace dagpam::trainer

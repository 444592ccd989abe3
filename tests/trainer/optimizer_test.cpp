#include "trainer/optim/optimizer.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace dagpam::trainer {
namespace {

using configs::OptimizerConfig;
using parallel::Init;
using parallel::ParameterList;

// One parameter of each decay group with fixed values, and gradients that change with the step.
struct Problem {
  Problem() {
    list.add("matrix", {2, 2}, Init::constant(0.5));
    list.add("vector", {3}, Init::constant(-0.25));
    list.initialise(1);
    for (const auto& parameter : list.all()) {
      const at::Tensor grad = at::zeros(parameter->value.sizes(), at::kFloat);
      parameter->value.mutable_grad() = grad;
      slices.push_back({parameter, 0, parameter->value.detach(), grad});
    }
    set_gradients(0);
  }
  double gradient(size_t index, int64_t step) const {
    return std::sin(static_cast<double>(index) + 0.7 * static_cast<double>(step)) + 0.1;
  }
  void set_gradients(int64_t step) {
    size_t index = 0;
    for (const auto& parameter : list.all()) {
      const at::Tensor g = parameter->value.grad().view({-1});
      for (int64_t i = 0; i < g.numel(); ++i) g[i] = gradient(index++, step);
    }
  }
  double value(size_t index) const {
    return index < 4
               ? list.all()[0]
                     ->value.detach()
                     .view({-1})[static_cast<int64_t>(index)]
                     .item<double>()
               : list.all()[1]->value.detach()[static_cast<int64_t>(index - 4)].item<double>();
  }
  ParameterList list;
  std::vector<parallel::ParameterSlice> slices;
};

const at::Tensor kOne = at::ones({}, at::kFloat);
const at::Tensor kFinite = at::zeros({}, at::kFloat);

TEST(OptimizerTest, AdamWFollowsItsFormula) {
  OptimizerConfig config;
  config.add_betas(0.8);
  config.add_betas(0.9);
  config.set_weight_decay(0.3);
  Problem problem;
  const auto optimizer = make_optimizer(config, problem.slices);
  std::vector<double> x(7), m(7, 0), v(7, 0);
  for (size_t i = 0; i < 7; ++i) x[i] = problem.value(i);
  for (int64_t step = 0; step < 5; ++step) {
    problem.set_gradients(step);
    const double lr = 0.01 * static_cast<double>(step + 1);
    optimizer->step(lr, kOne, kFinite);
    for (size_t i = 0; i < 7; ++i) {
      const double g = problem.gradient(i, step), n = static_cast<double>(step + 1);
      x[i] *= 1 - lr * (i < 4 ? 0.3 : 0.0);  // the vector is not decayed
      m[i] = 0.8 * m[i] + 0.2 * g;
      v[i] = 0.9 * v[i] + 0.1 * g * g;
      x[i] -=
          lr * m[i] / (1 - std::pow(0.8, n)) / (std::sqrt(v[i] / (1 - std::pow(0.9, n))) + 1e-8);
      EXPECT_NEAR(problem.value(i), x[i], 1e-6) << "step " << step << " entry " << i;
    }
  }
}

TEST(OptimizerTest, SgdFollowsItsFormula) {
  OptimizerConfig config;
  config.set_kind(OptimizerConfig::SGD);
  config.set_momentum(0.9);
  config.set_weight_decay(0.1);
  Problem problem;
  const auto optimizer = make_optimizer(config, problem.slices);
  std::vector<double> x(7), m(7, 0);
  for (size_t i = 0; i < 7; ++i) x[i] = problem.value(i);
  for (int64_t step = 0; step < 4; ++step) {
    problem.set_gradients(step);
    optimizer->step(0.05, kOne, kFinite);
    for (size_t i = 0; i < 7; ++i) {
      m[i] = 0.9 * m[i] + problem.gradient(i, step) + (i < 4 ? 0.1 * x[i] : 0);
      x[i] -= 0.05 * m[i];
      EXPECT_NEAR(problem.value(i), x[i], 1e-6);
    }
  }
}

TEST(OptimizerTest, PlainSgdKeepsNoState) {
  OptimizerConfig config;
  config.set_kind(OptimizerConfig::SGD);
  config.set_weight_decay(0);
  Problem problem;
  const auto optimizer = make_optimizer(config, problem.slices);
  EXPECT_TRUE(optimizer->state().empty());
  const double before = problem.value(0);
  optimizer->step(0.5, kOne, kFinite);
  EXPECT_NEAR(problem.value(0), before - 0.5 * problem.gradient(0, 0), 1e-7);
}

TEST(OptimizerTest, DivisorScalesTheGradientAndInfinityChangesNothing) {
  for (const auto kind : {OptimizerConfig::ADAMW, OptimizerConfig::SGD}) {
    OptimizerConfig config;
    config.set_kind(kind);
    config.add_betas(0.9);
    config.add_betas(0.99);
    config.set_momentum(0.9);
    Problem whole, divided;
    const auto a = make_optimizer(config, whole.slices);
    const auto b = make_optimizer(config, divided.slices);
    for (const auto& parameter : divided.list.all()) parameter->value.mutable_grad().mul_(4);
    a->step(0.1, kOne, kFinite);
    b->step(0.1, at::tensor(4.0f), kFinite);
    for (size_t i = 0; i < 7; ++i) EXPECT_NEAR(whole.value(i), divided.value(i), 1e-7);

    whole.list.all()[1]->value.mutable_grad().fill_(std::numeric_limits<double>::infinity());
    const double before = whole.value(0);
    a->step(0.1, kOne, at::ones({}, at::kFloat));
    EXPECT_EQ(whole.value(0), before);
    for (const StateTensor& state : a->state()) {
      EXPECT_TRUE(state.value.isfinite().all().item<bool>()) << state.kind;
    }
  }
}

}  // namespace
}  // namespace dagpam::trainer

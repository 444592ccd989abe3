#include "attention/lambdas.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

namespace dagpam::attention {
namespace {

using Scope = LambdaOptions::Scope;
using Squash = LambdaOptions::Squash;

LambdaOptions options_of(Scope scope, Squash squash, double plus, double minus) {
  LambdaOptions options;
  options.scope = scope;
  options.squash = squash;
  options.plus = plus;
  options.minus = minus;
  return options;
}

TEST(LambdasTest, ParametersByScope) {
  const auto names = [](Scope scope, int64_t size) {
    parallel::ParameterList parameters;
    const LambdaBank bank(options_of(scope, Squash::kNone, 1, 1), 2, 4, parameters);
    std::vector<std::string> out;
    for (const auto& p : parameters.all()) {
      out.push_back(p->name);
      EXPECT_EQ(p->value.sizes(), at::IntArrayRef({size})) << p->name;
      EXPECT_FALSE(p->decay) << p->name;
    }
    return out;
  };
  EXPECT_EQ(names(Scope::kModel, 1), (std::vector<std::string>{"lambda_plus", "lambda_minus"}));
  const std::vector<std::string> by_layer{
      "layers.0.attention.lambda_plus", "layers.0.attention.lambda_minus",
      "layers.1.attention.lambda_plus", "layers.1.attention.lambda_minus"};
  EXPECT_EQ(names(Scope::kLayer, 1), by_layer);
  EXPECT_EQ(names(Scope::kHead, 4), by_layer);
}

TEST(LambdasTest, StartValuesHoldAfterSquashing) {
  for (const auto& [squash, plus, minus] : {std::tuple{Squash::kNone, -1.5, 0.0},
                                            {Squash::kSigmoid, 0.9, 0.001},
                                            {Squash::kSigmoid, 0.5, 0.25},
                                            {Squash::kSoftplus, 1.0, 30.0},
                                            {Squash::kSoftplus, 1e-3, 0.7}}) {
    for (const Scope scope : {Scope::kModel, Scope::kLayer, Scope::kHead}) {
      parallel::ParameterList parameters;
      const LambdaBank bank(options_of(scope, squash, plus, minus), 3, 4, parameters);
      parameters.initialise(1);
      const Lambdas lambdas = bank.layer(2);
      EXPECT_EQ(lambdas.plus.numel(), scope == Scope::kHead ? 4 : 1);
      EXPECT_NEAR(lambdas.plus[0].item<double>(), plus, 1e-6 * (1 + std::abs(plus)));
      EXPECT_NEAR(lambdas.minus[0].item<double>(), minus, 1e-6 * (1 + std::abs(minus)));
    }
  }
}

TEST(LambdasTest, TrainedOnesHaveGradientsThroughTheSquash) {
  parallel::ParameterList parameters;
  const LambdaBank bank(options_of(Scope::kLayer, Squash::kSigmoid, 0.25, 0.5), 1, 4, parameters);
  parameters.initialise(1);
  bank.layer(0).plus.sum().backward();
  const auto p = parameters.find("layers.0.attention.lambda_plus");
  ASSERT_TRUE(p->value.grad().defined());
  EXPECT_NEAR(p->value.grad().item<double>(), 0.25 * 0.75, 1e-6);
}

TEST(LambdasTest, TheModelsLambdasAreOneForAllLayers) {
  parallel::ParameterList parameters;
  const LambdaBank bank(options_of(Scope::kModel, Squash::kNone, 0.5, 0.5), 3, 4, parameters);
  EXPECT_TRUE(bank.layer(0).plus.is_same(bank.layer(2).plus));
}

TEST(LambdasTest, FixedOnesAreNoParameters) {
  LambdaOptions options =
      options_of(Scope::kHead, Squash::kSigmoid, 3, -2);  // no squash where fixed
  options.trained = false;
  parallel::ParameterList parameters;
  const LambdaBank bank(options, 2, 4, parameters);
  EXPECT_TRUE(parameters.all().empty());
  EXPECT_EQ(bank.layer(1).plus.item<double>(), 3);
  EXPECT_EQ(bank.layer(1).minus.item<double>(), -2);
  EXPECT_FALSE(bank.layer(1).plus.requires_grad());
}

TEST(LambdasTest, StartValuesOutsideTheRangeAreRefused) {
  for (const auto& [squash, plus, minus] : {std::tuple{Squash::kSigmoid, 1.0, 0.5},
                                            {Squash::kSigmoid, 0.5, 0.0},
                                            {Squash::kSoftplus, 0.0, 1.0},
                                            {Squash::kSoftplus, 1.0, -1.0},
                                            {Squash::kNone, NAN, 1.0}}) {
    parallel::ParameterList parameters;
    EXPECT_THROW(LambdaBank(options_of(Scope::kHead, squash, plus, minus), 2, 4, parameters),
                 c10::Error);
  }
}

}  // namespace
}  // namespace dagpam::attention

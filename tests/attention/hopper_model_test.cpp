// The fused kernel's algorithm, as its model has it: exact in float32 against the oracle and the
// plain path in float64, and in 16-bit types at most twice as far from float64 as the plain path in
// the same type.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "attention/hopper/model.h"
#include "hopper_cases.h"

namespace dagpam::attention::testing {
namespace {

TEST(HopperModelTest, RoundsToNearestEven) {
  const auto same = [](float x, at::ScalarType type) {
    const float expected = at::Scalar(x).to<float>();
    const at::Tensor there = at::full({}, expected, at::kFloat).to(type).to(at::kFloat);
    return hopper::rounded(x, rounding_of(type)) == there.item<float>();
  };
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor numbers = normal({2000}, 3) * normal({2000}, 4).mul(8).exp();
    for (int64_t i = 0; i < numbers.numel(); ++i) {
      const auto x = static_cast<float>(numbers[i].item<double>());
      EXPECT_TRUE(same(x, type)) << x << " " << type;
    }
    for (const float x : {0.0F, -0.0F, 65504.0F, 65519.0F, 65520.0F, 6e-8F, 2.9e-8F, 1e-9F}) {
      EXPECT_TRUE(same(x, type)) << x << " " << type;
    }
  }
}

TEST(HopperModelTest, Float32IsThePlainPathsAnswer) {
  for (const int64_t width : {8, 64, 128}) {
    for (const NamedCase& named : hopper_cases(width, 100)) {
      SCOPED_TRACE(named.name);
      const Case narrow = as_type(named.problem, at::kFloat);
      const Outcome exact = solve(as_type(narrow, at::kDouble), Path::kReference);
      const Outcome model = run_model(narrow).outcome;
      const Outcome plain = solve(narrow, Path::kReference);
      EXPECT_LE(difference(model.y, exact.y), std::max(4e-6, 2 * difference(plain.y, exact.y)));
      for (const auto& [name, truth] : exact.grad) {
        if (truth.abs().max().item<double>() < 1e-9) {  // 0, as where all keys are equal
          EXPECT_LE(model.grad.at(name).abs().max().item<double>(), 1e-5) << name;
          continue;
        }
        const double bound = std::max(2e-5, 2 * difference(plain.grad.at(name), truth));
        EXPECT_LE(difference(model.grad.at(name), truth), bound) << name;
      }
    }
  }
}

// Errors of ours and of the plain path, against float64.
struct Errors {
  double ours = 0, plain = 0;
};

double squared_distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b).square().sum().item<double>();
}

// Each tensor of each problem: the errors of `seeds` draws added, a single draw's ratio is chance;
// what is within 1e-5 is right. A lambda's gradient is one sum of B N D products that nearly
// cancel, so its error is all chance: the squares of all problems together.
void expect_at_most_twice(at::ScalarType type, int64_t width, int seeds) {
  std::map<std::string, Errors> tensors, lambdas;
  for (int seed = 0; seed < seeds; ++seed) {
    for (const NamedCase& named : hopper_cases(width, 5000 + 1000 * static_cast<uint64_t>(seed))) {
      const Case narrow = as_type(named.problem, type);
      const Outcome exact = solve(as_type(narrow, at::kDouble), Path::kReference);
      const Outcome model = run_model(narrow).outcome;
      const Outcome plain = solve(narrow, Path::kReference);
      Errors& of_y = tensors[named.name + ", y"];
      of_y.ours += difference(model.y, exact.y);
      of_y.plain += difference(plain.y, exact.y);
      for (const auto& [name, truth] : exact.grad) {
        const at::Tensor &a = model.grad.at(name), &b = plain.grad.at(name);
        if (name.find("lambda") == 0) {
          const auto terms = static_cast<double>(narrow.q.numel() / truth.numel());
          lambdas[name].ours += squared_distance(a, truth) / terms;
          lambdas[name].plain += squared_distance(b, truth) / terms;
        } else {
          tensors[named.name + ", " + name].ours += difference(a, truth);
          tensors[named.name + ", " + name].plain += difference(b, truth);
        }
      }
    }
  }
  double greatest = 0;
  for (const auto& [name, error] : tensors) {
    EXPECT_LE(error.ours, 2 * error.plain + 1e-5 * seeds) << name << ", D " << width;
    if (error.plain > 1e-5 * seeds) greatest = std::max(greatest, error.ours / error.plain);
  }
  std::printf("D %d: a tensor's error is at most %.2f of the plain path's", static_cast<int>(width),
              greatest);
  for (const auto& [name, error] : lambdas) {
    EXPECT_LE(std::sqrt(error.ours), 2 * std::sqrt(error.plain)) << name << ", D " << width;
    std::printf(", %s %.2f", name.c_str(), std::sqrt(error.ours / error.plain));
  }
  std::printf("\n");
}

TEST(HopperModelTest, Bf16IsAtMostTwiceAsFarAsThePlainPath) {
  expect_at_most_twice(at::kBFloat16, 64, 4);
  expect_at_most_twice(at::kBFloat16, 128, 2);
}

TEST(HopperModelTest, Fp16IsAtMostTwiceAsFarAsThePlainPath) {
  expect_at_most_twice(at::kHalf, 64, 4);
  expect_at_most_twice(at::kHalf, 128, 2);
}

}  // namespace
}  // namespace dagpam::attention::testing

// The float32 fast path is as accurate as the plain float32 path, also where scores are large and
// softmax is saturated. Both are held against float64; a single problem's ratio is chance, so 60
// are averaged.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "support.h"

namespace dagpam::attention::testing {
namespace {

// Geometric mean over problems of (error of the fast path / error of the plain path), by tensor.
std::map<std::string, double> mean_ratios(const Shape& shape, double scale, int problems) {
  std::map<std::string, double> sums;
  for (int i = 0; i < problems; ++i) {
    Case c = random_case(Kind::kDagpam, shape, 1000 + 10 * static_cast<uint64_t>(i));
    for (at::Tensor* x : {&c.q, &c.k, &c.v}) *x = *x * scale;
    const Case narrow = as_type(c, at::kFloat);
    const Outcome exact = solve(as_type(narrow, at::kDouble), Path::kReference);
    const Outcome fast = solve(narrow, Path::kFast), plain = solve(narrow, Path::kReference);
    const auto add = [&](const std::string& name, const at::Tensor& a, const at::Tensor& b,
                         const at::Tensor& truth) {
      const double floor = 1e-9;  // below, both are right
      sums[name] += std::log((difference(a, truth) + floor) / (difference(b, truth) + floor));
    };
    add("y", fast.y, plain.y, exact.y);
    for (const auto& [name, truth] : exact.grad) {
      add(name, fast.grad.at(name), plain.grad.at(name), truth);
    }
  }
  for (auto& [name, sum] : sums) sum = std::exp(sum / problems);
  return sums;
}

TEST(AccuracyTest, LargeScoresAreNoWorseThanThePlainPath) {
  for (const auto& [name, ratio] : mean_ratios({2, 4, 4, 2, 2, 4}, 12, 60)) {
    EXPECT_LE(ratio, 1.5) << name;
    EXPECT_GT(ratio, 0) << name;
  }
}

TEST(AccuracyTest, OrdinaryScoresAreNoWorseThanThePlainPath) {
  for (const auto& [name, ratio] : mean_ratios({2, 70, 70, 2, 1, 16}, 1, 12)) {
    EXPECT_LE(ratio, 1.5) << name;
    EXPECT_GT(ratio, 0) << name;
  }
}

}  // namespace
}  // namespace dagpam::attention::testing

// The float32 fast path is as accurate as the plain float32 path, also where scores are large and
// softmax is saturated. Both are held against float64; a single problem's ratio is chance, so 60
// are averaged.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "support.h"

namespace dagpam::attention::testing {
namespace {

// Makes a float64 problem out of a seed.
using Draw = std::function<Case(uint64_t seed)>;

// Geometric mean over problems of (error of the fast path / error of the plain path), by tensor.
std::map<std::string, double> mean_ratios(const Draw& draw, int problems) {
  std::map<std::string, double> sums;
  for (int i = 0; i < problems; ++i) {
    const Case narrow = as_type(draw(1000 + 10 * static_cast<uint64_t>(i)), at::kFloat);
    const Outcome exact = solve(as_type(narrow, at::kDouble), Path::kReference);
    const Outcome fast = solve(narrow, Path::kFast), plain = solve(narrow, Path::kReference);
    const auto add = [&](const std::string& name, const at::Tensor& a, const at::Tensor& b,
                         const at::Tensor& truth) {
      const double floor = 1e-9;  // below, both are right
      sums[name] += std::log((difference(a, truth) + floor) / (difference(b, truth) + floor));
    };
    add("y", fast.y, plain.y, exact.y);
    for (const auto& [name, truth] : exact.grad) {
      // A gradient that is zero but for rounding has no relative error to compare.
      if (truth.abs().max().item<double>() < 1e-12) continue;
      add(name, fast.grad.at(name), plain.grad.at(name), truth);
    }
  }
  for (auto& [name, sum] : sums) sum = std::exp(sum / problems);
  return sums;
}

Draw scaled(const Shape& shape, double scale) {
  return [=](uint64_t seed) {
    Case c = random_case(Kind::kDagpam, shape, seed);
    for (at::Tensor* x : {&c.q, &c.k, &c.v}) *x = *x * scale;
    return c;
  };
}

Draw with_lambdas(const Shape& shape, double plus, double minus) {
  return [=](uint64_t seed) {
    Case c = random_case(Kind::kDagpam, shape, seed);
    c.plus = at::full({shape.heads}, plus, at::kDouble);
    c.minus = at::full({shape.heads}, minus, at::kDouble);
    return c;
  };
}

void expect_at_most(double most, const Draw& draw, int problems) {
  for (const auto& [name, ratio] : mean_ratios(draw, problems)) {
    EXPECT_LE(ratio, most) << name;
    EXPECT_GT(ratio, 0) << name;
  }
}

TEST(AccuracyTest, LargeScoresAreNoWorseThanThePlainPath) {
  expect_at_most(1.5, scaled({2, 4, 4, 2, 2, 4}, 12), 60);
}

TEST(AccuracyTest, OrdinaryScoresAreNoWorseThanThePlainPath) {
  expect_at_most(1.5, scaled({2, 70, 70, 2, 1, 16}, 1), 12);
}

TEST(AccuracyTest, LambdasNearTheEdges) {
  expect_at_most(2, with_lambdas({2, 40, 40, 2, 2, 16}, -0.999, 1), 12);
  expect_at_most(2, with_lambdas({2, 40, 40, 2, 2, 16}, 1, 0), 12);
}

TEST(AccuracyTest, VeryLongRows) { expect_at_most(2, scaled({1, 8, 6000, 1, 1, 16}, 2), 6); }

TEST(AccuracyTest, ManyKeysOfOneQuery) { expect_at_most(2, scaled({1, 1, 5000, 4, 2, 32}, 2), 12); }

// One visible key: its weight is 1 + l+ - l- whatever the scores, and no score has a gradient.
TEST(AccuracyTest, OneVisibleKey) {
  const auto draw = [](uint64_t seed) {
    Case c = scaled({1, 30, 30, 2, 2, 16}, 8)(seed);
    c.visibility.causal = false;
    c.visibility.begin = at::arange(30, at::kInt).view({1, 30});
    c.visibility.end = c.visibility.begin + 1;
    return c;
  };
  expect_at_most(2, draw, 12);
  const Case c = as_type(draw(7), at::kFloat);
  const Outcome out = solve(c, Path::kFast);
  const at::Tensor sum = (1 + c.plus - c.minus).view({1, 1, 2, 1});
  EXPECT_LE(difference(out.y, sum * c.v), 1e-6);
  EXPECT_LE(out.grad.at("q").abs().max().item<double>(), 1e-5);
  EXPECT_LE(out.grad.at("k").abs().max().item<double>(), 1e-4);
}

// All keys equal: every visible one weighs alike, and queries have no gradient but rounding.
TEST(AccuracyTest, AllKeysEqual) {
  const auto draw = [](uint64_t seed) {
    Case c = random_case(Kind::kDagpam, {1, 50, 50, 2, 2, 16}, seed);
    c.k = c.k.narrow(1, 0, 1).expand(c.k.sizes()).contiguous();
    return c;
  };
  for (const auto& [name, ratio] : mean_ratios(draw, 12)) {
    if (name == "q" || name == "w_neg") continue;
    EXPECT_LE(ratio, 2) << name;
  }
  const Case c = as_type(draw(7), at::kFloat);
  const Outcome fast = solve(c, Path::kFast), plain = solve(c, Path::kReference);
  for (const char* name : {"q", "w_neg"}) {
    EXPECT_LE(fast.grad.at(name).abs().max().item<double>(),
              2 * plain.grad.at(name).abs().max().item<double>() + 1e-6)
        << name;
  }
}

}  // namespace
}  // namespace dagpam::attention::testing

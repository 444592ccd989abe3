// The variants whose weights are no softmax, against loops that follow their formulas, and what no
// random problem shows.
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "attention/reference.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

constexpr Kind kKinds[] = {Kind::kNon, Kind::kNap, Kind::kCoda, Kind::kCog};
using Row = std::vector<double>;

double dot(const Row& a, const Row& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

Row row_of(const at::Tensor& x) {
  const at::Tensor flat = x.contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

// The weights of one query for the keys that it sees.
Row weights_by_hand(Kind kind, const Row& q, const std::vector<Row>& keys, double gain,
                    double bias) {
  const auto n = static_cast<double>(keys.size());
  const double root = std::sqrt(static_cast<double>(q.size()));
  Row u, out;
  for (const Row& k : keys) u.push_back(dot(q, k));
  const double mean = std::accumulate(u.begin(), u.end(), 0.0) / n;
  double variance = 0, largest = 0, sum = 0;
  for (const double x : u) {
    variance += (x - mean) * (x - mean) / n;
    largest = std::max(largest, std::abs(x) / root);
  }
  for (const double x : u) sum += std::exp(std::abs(x) / root - largest);
  for (size_t j = 0; j < keys.size(); ++j) {
    const double s = u[j] / root;
    double distance = 0;
    for (size_t d = 0; d < q.size(); ++d) distance += std::abs(q[d] - keys[j][d]);
    switch (kind) {
      case Kind::kNon:
        out.push_back(s / std::sqrt(n));
        break;
      case Kind::kNap:
        out.push_back(gain * (u[j] - mean) / (std::sqrt(variance) + 1e-3) + bias);
        break;
      case Kind::kCoda:
        out.push_back(std::tanh(s) * 2 / (1 + std::exp(distance / root)));
        break;
      default:
        out.push_back((s > 0 ? 1 : -1) * std::exp(std::abs(s) - largest) / sum);
    }
  }
  return out;
}

at::Tensor answer_by_hand(const Case& c) {
  at::Tensor y = at::zeros_like(c.q);
  const int64_t group = c.q.size(2) / c.k.size(2);
  for (int64_t b = 0; b < c.q.size(0); ++b) {
    for (int64_t n = 0; n < c.q.size(1); ++n) {
      for (int64_t h = 0; h < c.q.size(2); ++h) {
        const int64_t first = c.visibility.begin[b][n].item<int64_t>();
        const int64_t end = c.visibility.end[b][n].item<int64_t>();
        std::vector<Row> keys;
        for (int64_t m = first; m < end; ++m) keys.push_back(row_of(c.k[b][m][h / group]));
        const Row weights = weights_by_hand(c.options.kind, row_of(c.q[b][n][h]), keys,
                                            c.gain[h].item<double>(), c.bias[h].item<double>());
        for (size_t j = 0; j < keys.size(); ++j) {
          y[b][n][h] += weights[j] * c.v[b][first + static_cast<int64_t>(j)][h / group];
        }
      }
    }
  }
  return y;
}

TEST(WeightingTest, FollowsTheFormulas) {
  for (const Kind kind : kKinds) {
    Case c = random_case(kind, {2, 6, 9, 4, 2, 8}, 41);
    c.visibility = random_intervals(2, 6, 9, /*causal=*/false, 42);
    EXPECT_LE(difference(solve(c, Path::kFast).y, answer_by_hand(c)), 1e-12)
        << "kind " << static_cast<int>(kind);
  }
}

// A row of equal scores: its deviation and the gradients of what makes it are 0.
TEST(WeightingTest, NapOfEqualScoresIsTheBias) {
  Case c = random_case(Kind::kNap, {1, 1, 4, 1, 1, 8}, 43);
  c.k = at::full({1, 4, 1, 8}, 0.25, at::kDouble);  // four: their mean is exact
  c.visibility.causal = false;
  const Outcome outcome = solve(c, Path::kFast);
  EXPECT_LE(difference(outcome.y[0][0][0], c.bias[0] * c.v.sum(1)[0][0]), 1e-14);
  for (const char* const name : {"q", "gain"}) {
    EXPECT_EQ(outcome.grad.at(name).abs().max().item<double>(), 0) << name;
  }
}

// One mask on the weights, kept ones divided by the keep rate.
TEST(WeightingTest, DropoutFallsOnTheWeights) {
  for (const Kind kind : kKinds) {
    Case c = random_case(kind, {2, 7, 7, 2, 2, 8}, 44);
    c.v = at::eye(7, at::kDouble).unsqueeze(1).expand({2, 7, 2, 7}).contiguous();
    c.q = c.q.narrow(3, 0, 7), c.k = c.k.narrow(3, 0, 7), c.dy = c.dy.narrow(3, 0, 7);
    c.options.head_width = 7;
    const at::Tensor weights = solve(c, Path::kFast).y;  // [B, N, H, M]
    c.dropout = WeightDropout{0.3, 5, at::full({2}, 3, at::kLong), 0};
    const at::Tensor factors = reference::dropout_factors(*c.dropout, {2, 2, 7, 7}, c.q.options());
    const at::Tensor expected = weights * factors.transpose(1, 2);
    EXPECT_LE(difference(solve(c, Path::kFast).y, expected), 1e-14);
    EXPECT_GT(difference(expected, weights), 0.1);
  }
}

}  // namespace
}  // namespace dagpam::attention::testing

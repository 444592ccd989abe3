// Dropout on attention weights: which are dropped is a function of (key, sample, head, query, key
// place) alone.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "parallel/random.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

constexpr uint64_t kKey = 0xfedcba9876543210u;

Case dropped(Kind kind, const Shape& shape) {
  Case c = as_type(random_case(kind, shape, 41), at::kFloat);
  c.dropout = WeightDropout{0.25, kKey, at::arange(100, 100 + shape.batch, at::kLong), 0};
  return c;
}

// Equal scores and values of one: a row gives the share of its keys that are kept, over the keep
// rate.
TEST(WeightDropoutTest, MaskFollowsTheCounters) {
  for (const Path path : {Path::kFast, Path::kReference}) {
    Case c = dropped(Kind::kSoftmax, {2, 50, 50, 3, 3, 4});
    c.q = at::zeros_like(c.q);
    c.v = at::ones_like(c.v);
    c.dropout->head_offset = 6;
    const at::Tensor y = solve(c, path).y;
    const uint32_t threshold = parallel::dropout_threshold(0.25);
    int64_t kept_of_all = 0, all = 0;
    for (uint32_t b = 0; b < 2; ++b) {
      for (uint32_t n = 0; n < 50; ++n) {
        for (uint32_t h = 0; h < 3; ++h) {
          int64_t kept = 0;
          for (uint32_t j = 0; j <= n; ++j) {
            const auto words = parallel::philox4x32({j / 4, n, 6 + h, 100 + b}, kKey);
            kept += words[j % 4] >= threshold ? 1 : 0;
          }
          kept_of_all += kept;
          all += n + 1;
          EXPECT_NEAR(y[b][n][h][0].item<float>(),
                      static_cast<double>(kept) / (0.75 * static_cast<double>(n + 1)), 1e-6)
              << path << " sample " << b << " query " << n << " head " << h;
        }
      }
    }
    EXPECT_NEAR(static_cast<double>(kept_of_all) / static_cast<double>(all), 0.75, 0.01);
  }
}

TEST(WeightDropoutTest, DoesNotDependOnHowTheBatchIsCut) {
  for (const Kind kind : {Kind::kSoftmax, Kind::kSoftmaxWide, Kind::kDagpam}) {
    const Case whole = dropped(kind, {4, 40, 40, 4, 2, 8});
    const Outcome expected = solve(whole, Path::kFast);
    for (int64_t b = 0; b < 4; ++b) {
      Case part = whole;
      for (at::Tensor* x : {&part.q, &part.k, &part.v, &part.dy, &part.dropout->samples}) {
        *x = x->narrow(0, b, 1);
      }
      const Outcome one = solve(part, Path::kFast);
      EXPECT_TRUE(bit_equal(one.y, expected.y.narrow(0, b, 1))) << b;
      for (const char* name : {"q", "k", "v"}) {
        EXPECT_LE(difference(one.grad.at(name), expected.grad.at(name).narrow(0, b, 1)), 1e-6)
            << name;
      }
    }
  }
}

TEST(WeightDropoutTest, DoesNotDependOnHowTheHeadsAreCut) {
  const Case whole = dropped(Kind::kDagpam, {2, 40, 40, 4, 2, 8});
  const Outcome expected = solve(whole, Path::kFast);
  Case part = whole;
  part.options.heads = 2;
  part.options.kv_heads = 1;
  part.dropout->head_offset = 2;
  for (at::Tensor* x : {&part.q, &part.dy}) *x = x->narrow(2, 2, 2);
  for (at::Tensor* x : {&part.k, &part.v}) *x = x->narrow(2, 1, 1);
  for (at::Tensor* x : {&part.w_neg, &part.plus, &part.minus}) *x = x->narrow(0, 2, 2);
  const Outcome half = solve(part, Path::kFast);
  EXPECT_TRUE(bit_equal(half.y, expected.y.narrow(2, 2, 2)));
  EXPECT_LE(difference(half.grad.at("w_neg"), expected.grad.at("w_neg").narrow(0, 2, 2)), 1e-6);
  EXPECT_LE(
      difference(half.grad.at("lambda_plus"), expected.grad.at("lambda_plus").narrow(0, 2, 2)),
      1e-6);
}

TEST(WeightDropoutTest, ZeroIsNoDropout) {
  Case c = dropped(Kind::kDagpam, {2, 40, 40, 4, 2, 8});
  c.dropout->p = 0;
  const Outcome zero = solve(c, Path::kFast);
  c.dropout.reset();
  EXPECT_TRUE(bit_equal(zero.y, solve(c, Path::kFast).y));
}

}  // namespace
}  // namespace dagpam::attention::testing

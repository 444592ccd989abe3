// The weights that a call shows are those that it computes with.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <gtest/gtest.h>

#include <cmath>

#include "attention/reference.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

struct Look {
  at::Tensor y, plain;  // with and without looking
  SeenWeights seen;
};

Look look_at(const Case& c) {
  const at::NoGradGuard no_grad;
  parallel::ParameterList parameters;
  const auto attention = make_attention(c.options, "", parameters, [&] {
    return Lambdas{c.plus, c.minus};
  });
  give_parameters(c, parameters);
  Inputs in{c.q, c.k, c.v, c.visibility};
  if (c.options.kind == Kind::kDiff2) in.gate = c.gate;
  Look look;
  look.plain = attention->forward(in);
  in.seen = &look.seen;
  look.y = attention->forward(in);
  return look;
}

TEST(SeenWeightsTest, MakeTheAnswer) {
  for (const Kind kind : kAllKinds) {
    SCOPED_TRACE(static_cast<int>(kind));
    Case c = random_case(kind, {2, 6, 9, 4, 2, 8}, 51);
    c.visibility = random_intervals(2, 6, 9, /*causal=*/false, 52);
    const Look look = look_at(c);
    EXPECT_LE(difference(look.y, look.plain), 1e-12);
    const at::Tensor& weights = look.seen.weights;
    const int64_t heads = kind == Kind::kDiff ? c.options.heads / 2 : c.options.heads;
    EXPECT_EQ(weights.sizes(), (std::vector<int64_t>{2, heads, 6, 9}));
    const at::Tensor hidden = look.seen.visible.logical_not();
    EXPECT_EQ((weights * hidden).abs().max().item<double>(), 0);
    EXPECT_TRUE(hidden.any().item<bool>());
    if (kind == Kind::kDiff) continue;  // a norm comes behind
    const at::Tensor v = reference::per_query_head(c.v, heads);
    EXPECT_LE(difference(at::matmul(weights, v).transpose(1, 2), look.y), 1e-14);
  }
}

TEST(SeenWeightsTest, AreMadeOfTwoSoftmaxes) {
  for (const Kind kind : kAllKinds) {
    SCOPED_TRACE(static_cast<int>(kind));
    const Case c = random_case(kind, {2, 6, 6, 4, 2, 8}, 53);
    const SeenWeights seen = look_at(c).seen;
    const bool two = kind == Kind::kDagpam || kind == Kind::kDiff || kind == Kind::kDiff2;
    ASSERT_EQ(seen.plus.defined(), two);
    ASSERT_EQ(seen.minus.defined(), two);
    if (!two) continue;
    for (const at::Tensor& map : {seen.plus, seen.minus}) {
      EXPECT_EQ(map.sizes(), seen.weights.sizes());
      EXPECT_LE((map.sum(-1) - 1).abs().max().item<double>(), 1e-14);
      EXPECT_GE(map.min().item<double>(), 0);
    }
    at::Tensor first = at::ones({1}, at::kDouble), second;  // factors of the maps
    if (kind == Kind::kDagpam) {
      first = c.plus.view({-1, 1, 1}) + 1;  // [H or 1, 1, 1]
      second = c.minus.view({-1, 1, 1});
    } else if (kind == Kind::kDiff2) {
      second = at::sigmoid(c.gate).transpose(1, 2).unsqueeze(3);  // [B, H, N, 1]
    } else {
      const auto product = [&](const char* a, const char* b) {
        return c.diff.at(a).dot(c.diff.at(b)).exp();
      };
      const double start = 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(c.options.layer));
      second = product("lq1", "lk1") - product("lq2", "lk2") + start;
    }
    EXPECT_LE(difference(seen.weights, seen.plus * first - seen.minus * second), 1e-14);
  }
}

TEST(SeenWeightsTest, AreLookedAtWithoutGradients) {
  const Case c = random_case(Kind::kDagpam, {1, 4, 4, 2, 2, 8}, 54);
  parallel::ParameterList parameters;
  const auto attention = make_attention(c.options, "", parameters, [&] {
    return Lambdas{c.plus, c.minus};
  });
  give_parameters(c, parameters);
  SeenWeights seen;
  Inputs in{c.q, c.k, c.v, c.visibility};
  in.seen = &seen;
  EXPECT_THROW(attention->forward(in), c10::Error);
}

}  // namespace
}  // namespace dagpam::attention::testing

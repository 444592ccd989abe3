#include "parallel/master_weights.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "parallel/embedding.h"

namespace dagpam::parallel {
namespace {

float float_of(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Of all 65,536 draws exactly f take a number f / 65,536 of the way to its neighbour there: the
// mean is the number itself.
TEST(StochasticRounding, IsUnbiasedAtEveryOffset) {
  for (const uint16_t below :
       {uint16_t{0x3f80}, uint16_t{0xbf80}, uint16_t{0x0000}, uint16_t{0x4249}}) {
    for (uint32_t offset = 0; offset < 65536; ++offset) {
      const auto value = std::bit_cast<float>((uint32_t{below} << 16) | offset);
      // Draws from 65,536 - offset on go to the neighbour, all others do not: the edge says it all.
      if (offset > 0) {
        ASSERT_EQ(round_stochastically(value, static_cast<uint16_t>(65536 - offset)), below + 1);
        ASSERT_EQ(round_stochastically(value, 65535), below + 1);
      }
      ASSERT_EQ(round_stochastically(value, static_cast<uint16_t>(65535 - offset)), below);
      ASSERT_EQ(round_stochastically(value, 0), below);
    }
  }
}

TEST(StochasticRounding, CountsTheDraws) {
  const float value = 1 + 0x1p-9f;  // a quarter of the way
  int up = 0;
  for (int draw = 0; draw < 65536; ++draw) {
    up += round_stochastically(value, static_cast<uint16_t>(draw)) == 0x3f81;
  }
  EXPECT_EQ(up, 16384);
}

TEST(StochasticRounding, LeavesWhatNeedsNoChance) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const uint16_t draw : {uint16_t{0}, uint16_t{1}, uint16_t{65535}}) {
    EXPECT_EQ(float_of(round_stochastically(-2.5f, draw)), -2.5f);
    EXPECT_EQ(float_of(round_stochastically(inf, draw)), inf);
    EXPECT_EQ(float_of(round_stochastically(-inf, draw)), -inf);
    EXPECT_TRUE(std::isnan(float_of(round_stochastically(std::nanf(""), draw))));
  }
}

// The draws themselves: the mean of many elements lies within 5 deviations of the master.
TEST(StochasticRounding, DrawsAreEven) {
  constexpr int64_t kElements = 1 << 20;
  Parameter parameter;
  parameter.name = "w";
  parameter.shard.global_shape = {kElements};
  const at::Tensor master = at::full({kElements}, 1 + 0x1p-9, at::kFloat);
  const at::Tensor weights = at::empty({kElements}, at::kBFloat16);
  round_weights(master, weights, parameter, 0, {true, 1, 0});
  const double up = weights.gt(1).sum().item<double>();
  EXPECT_NEAR(up, kElements / 4.0, 5 * std::sqrt(kElements * 0.25 * 0.75));
}

at::Tensor rounded(const at::Tensor& master, const ShardSpec& shard, int64_t first_row,
                   const Rounding& rounding, const std::string& name = "w") {
  Parameter parameter;
  parameter.name = name;
  parameter.shard = shard;
  const at::Tensor part = master.contiguous();
  const at::Tensor weights = at::empty(part.sizes(), at::kBFloat16);
  round_weights(part, weights, parameter, first_row, rounding);
  return weights;
}

// Every part of a tensor, cut along any dimension and into any rows, is rounded as in the whole.
TEST(StochasticRounding, DoesNotDependOnTheLayout) {
  const std::vector<int64_t> shape{6, 4, 10};
  const at::Tensor master = at::arange(240, at::kFloat).mul(0.37).sin().view(shape);
  const Rounding rounding{true, 7, 3};
  const at::Tensor whole = rounded(master, {shape, -1, 0}, 0, rounding);
  EXPECT_TRUE(
      rounded(master.narrow(0, 2, 3), {shape, -1, 0}, 2, rounding).equal(whole.narrow(0, 2, 3)));
  for (int cut = 0; cut < 3; ++cut) {
    const int64_t half = shape[static_cast<size_t>(cut)] / 2;
    const at::Tensor mine = master.narrow(cut, half, half),
                     expected = whole.narrow(cut, half, half);
    const ShardSpec shard{shape, cut, half};
    EXPECT_TRUE(rounded(mine, shard, 0, rounding).equal(expected)) << cut;
    EXPECT_TRUE(rounded(mine.narrow(0, 1, 2), shard, 1, rounding).equal(expected.narrow(0, 1, 2)))
        << cut;
  }
}

TEST(StochasticRounding, IsDrawnAnewByStepSeedAndName) {
  const std::vector<int64_t> shape{1000};
  const at::Tensor master = at::arange(1000, at::kFloat).mul(0.37).sin();
  const ShardSpec shard{shape, -1, 0};
  const at::Tensor one = rounded(master, shard, 0, {true, 7, 3});
  EXPECT_TRUE(rounded(master, shard, 0, {true, 7, 3}).equal(one));
  EXPECT_FALSE(rounded(master, shard, 0, {true, 7, 4}).equal(one));
  EXPECT_FALSE(rounded(master, shard, 0, {true, 8, 3}).equal(one));
  EXPECT_FALSE(rounded(master, shard, 0, {true, 7, 3}, "v").equal(one));
  EXPECT_TRUE(rounded(master, shard, 0, {false, 7, 3}).equal(master.to(at::kBFloat16)));
}

// A thousand ones for one row: bfloat16 would stop at 256.
TEST(Embedding, SumsTheGradientInFloat32) {
  at::Tensor table = at::full({2, 3}, 1, at::kBFloat16).requires_grad_();
  const at::Tensor rows = embedding(table, at::zeros({1000}, at::kLong));
  EXPECT_EQ(rows.scalar_type(), at::kBFloat16);
  rows.sum().backward();
  EXPECT_TRUE(table.grad().equal(
      at::tensor({1000.0F, 0.0F}).to(at::kBFloat16).view({2, 1}).expand({2, 3})));
}

}  // namespace
}  // namespace dagpam::parallel

#include "parallel/parameter.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace dagpam::parallel {
namespace {

TEST(ParameterList, DeclaresInOrder) {
  ParameterList list;
  const ParameterPtr weight = list.add("layers.0.w", {3, 4}, Init::normal(0.02));
  const ParameterPtr bias = list.add("layers.0.b", {4}, Init::constant(1.5));
  const ParameterPtr gain = list.add("gain", {2, 2}, Init::constant(1), {.decay = false});
  ASSERT_EQ(list.all(), (std::vector<ParameterPtr>{weight, bias, gain}));
  EXPECT_EQ(list.count(), 12 + 4 + 4);
  EXPECT_TRUE(weight->decay);
  EXPECT_FALSE(bias->decay);
  EXPECT_FALSE(gain->decay);
  EXPECT_TRUE(weight->value.is_leaf() && weight->value.requires_grad());
  EXPECT_EQ(weight->value.scalar_type(), at::kFloat);
  EXPECT_EQ(weight->shard.global_shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(weight->shard.cut_dim, -1);
  EXPECT_EQ(list.find("gain"), gain);
  EXPECT_EQ(list.find("layers.0"), nullptr);
}

TEST(ParameterList, RefusesATakenName) {
  ParameterList list;
  list.add("w", {3}, Init::constant(0));
  EXPECT_THROW(list.add("w", {3}, Init::constant(0)), c10::Error);
  EXPECT_THROW(list.add("", {3}, Init::constant(0)), c10::Error);
  EXPECT_THROW(list.add("v", {-3}, Init::constant(0)), c10::Error);
  EXPECT_EQ(list.all().size(), 1u);
}

TEST(ParameterList, InitialisesByNameNotByPlace) {
  ParameterList one, other;
  one.add("a", {8, 8}, Init::normal(0.02));
  one.add("b", {8}, Init::constant(1));
  other.add("b", {8}, Init::constant(1));
  other.add("a", {8, 8}, Init::normal(0.02));
  one.initialise(42);
  other.initialise(42);
  EXPECT_TRUE(one.find("a")->value.equal(other.find("a")->value));
  EXPECT_EQ(one.find("b")->value.detach().eq(1).sum().item<int64_t>(), 8);
  EXPECT_TRUE(one.find("a")->value.requires_grad());
  const at::Tensor before = one.find("a")->value.detach().clone();
  one.initialise(43);
  EXPECT_FALSE(one.find("a")->value.detach().equal(before));
}

}  // namespace
}  // namespace dagpam::parallel

// The path of GPUs, on the CPU, against the plain one.
#include "attention/composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <vector>

#include "attention/reference.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

using composed::Sight;

struct Result {
  at::Tensor y;
  std::vector<at::Tensor> grads;
};

Maps leaves_of(const Maps& maps) {
  Maps leaves = maps;
  for (at::Tensor* t :
       {&leaves.q, &leaves.q_neg, &leaves.k, &leaves.v, &leaves.plus, &leaves.minus})
    if (t->defined()) *t = t->detach().clone().requires_grad_();
  return leaves;
}

Result run(const Maps& maps, const at::Tensor& dy, bool plain, Sight sight) {
  const Maps m = leaves_of(maps);
  std::vector<at::Tensor> inputs{m.q, m.k, m.v};
  if (m.q_neg.defined()) inputs.insert(inputs.end(), {m.q_neg, m.plus, m.minus});
  const at::Tensor y =
      plain ? reference::attend(m, nullptr).y.contiguous() : composed::attend(m, sight);
  return {y.detach(), torch::autograd::grad({y}, inputs, {dy})};
}

Maps maps_of(const Shape& s, bool two, bool one_lambda) {
  Maps m;
  m.q = normal({s.batch, s.queries, s.heads, s.width}, 1);
  m.k = normal({s.batch, s.keys, s.kv_heads, s.width}, 2);
  m.v = normal({s.batch, s.keys, s.kv_heads, s.width}, 3);
  if (!two) return m;
  m.q_neg = normal(m.q.sizes(), 4);
  m.plus = normal({one_lambda ? 1 : s.heads}, 5);
  m.minus = normal({one_lambda ? 1 : s.heads}, 6);
  return m;
}

void expect_same(const Shape& shape, const Visibility& visibility, Sight expected) {
  for (const bool two : {false, true}) {
    for (const bool one_lambda : {false, true}) {
      SCOPED_TRACE(std::string(two ? "two maps" : "one map") + (one_lambda ? ", one lambda" : ""));
      Maps maps = maps_of(shape, two, one_lambda);
      maps.bounds = key_bounds(visibility, shape.batch, shape.queries, shape.keys);
      const Sight sight = composed::sight_of(visibility, shape.queries, shape.keys);
      EXPECT_EQ(sight, expected);
      const at::Tensor dy = normal(maps.q.sizes(), 7);
      const Result plain = run(maps, dy, true, sight);
      const Result ours = run(maps, dy, false, sight);
      EXPECT_TRUE(ours.y.is_contiguous());
      EXPECT_LE(difference(ours.y, plain.y), 1e-12);
      for (size_t i = 0; i < plain.grads.size(); ++i) {
        EXPECT_LE(difference(ours.grads[i], plain.grads[i]), 1e-12) << i;
      }
    }
  }
}

TEST(ComposedTest, CausalWithSharedKeyHeads) {
  expect_same({2, 9, 9, 4, 2, 8}, {}, Sight::kCausal);
  expect_same({1, 5, 5, 3, 1, 4}, {}, Sight::kCausal);
  expect_same({2, 6, 6, 2, 2, 8}, {}, Sight::kCausal);
}

TEST(ComposedTest, OneQueryAndNoOrder) {
  expect_same({2, 1, 7, 4, 2, 8}, {}, Sight::kAll);
  expect_same({2, 5, 7, 4, 2, 8}, {.causal = false, .begin = {}, .end = {}}, Sight::kAll);
}

TEST(ComposedTest, MoreKeysThanQueries) { expect_same({2, 3, 8, 4, 2, 8}, {}, Sight::kBounds); }

TEST(ComposedTest, IntervalsWithRowsThatSeeNothing) {
  for (const bool causal : {false, true}) {
    expect_same({3, 8, 8, 4, 2, 8}, random_intervals(3, 8, 8, causal, 11), Sight::kBounds);
  }
}

TEST(ComposedTest, MapsQueriesAsThePlainPath) {
  const at::Tensor qkv = normal({2, 5, 3, 3, 8}, 1);  // queries are a third of each row
  const at::Tensor w = normal({3, 8, 8}, 2), d_out = normal({2, 5, 3, 8}, 3);
  for (const bool residual : {false, true}) {
    const auto run_by = [&](bool plain) {
      const at::Tensor all = qkv.clone().requires_grad_(), map = w.clone().requires_grad_();
      const at::Tensor q = all.select(3, 1);
      const at::Tensor mapped =
          plain ? reference::map_queries(q, map) : composed::map_queries(q, map, residual);
      const at::Tensor y = plain && residual ? q + mapped : mapped;
      return Result{y.detach(), torch::autograd::grad({y}, {all, map}, {d_out})};
    };
    const Result plain = run_by(true), ours = run_by(false);
    EXPECT_LE(difference(ours.y, plain.y), 1e-14);
    EXPECT_LE(difference(ours.grads[0], plain.grads[0]), 1e-14);
    EXPECT_LE(difference(ours.grads[1], plain.grads[1]), 1e-14);
  }
}

// The kernels of half types get shared key heads as they are. A query head that read its
// neighbour's keys would be off by about 1.
TEST(ComposedTest, HalfTypesShareKeyHeads) {
  Maps maps = maps_of({2, 9, 9, 4, 2, 8}, true, false);
  Maps low = maps;
  for (at::Tensor* t : {&low.q, &low.q_neg, &low.k, &low.v, &low.plus, &low.minus}) {
    *t = t->to(at::kBFloat16);
  }
  Maps same = low;  // the same numbers in float64
  for (at::Tensor* t : {&same.q, &same.q_neg, &same.k, &same.v, &same.plus, &same.minus}) {
    *t = t->to(at::kDouble);
  }
  same.bounds = key_bounds({}, 2, 9, 9);
  const at::Tensor y = composed::attend(low, Sight::kCausal);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_LE(difference(y.to(at::kDouble), reference::attend(same, nullptr).y), 0.02);
}

TEST(ComposedTest, BoundsByTensorOperations) {
  for (const bool causal : {false, true}) {
    for (int which = 0; which < 4; ++which) {
      Visibility visibility = random_intervals(3, 8, 8, causal, 5);
      if ((which & 1) == 0) visibility.begin = at::Tensor();
      if ((which & 2) == 0) visibility.end = at::Tensor();
      // Past the keys on either side, which is cut.
      if (visibility.begin.defined()) visibility.begin = visibility.begin.mul(3).sub(6);
      if (visibility.end.defined()) visibility.end = visibility.end.mul(3).sub(6);
      const at::Tensor expected = key_bounds(visibility, 3, 8, 8);
      const at::Tensor bounds = device_key_bounds(visibility, 3, 8, 8, at::kCPU);
      EXPECT_TRUE(bounds.equal(expected)) << causal << which;
      EXPECT_EQ(bounds.scalar_type(), at::kInt);
    }
  }
  EXPECT_TRUE(device_key_bounds({}, 2, 3, 8, at::kCPU).equal(key_bounds({}, 2, 3, 8)));
}

}  // namespace
}  // namespace dagpam::attention::testing

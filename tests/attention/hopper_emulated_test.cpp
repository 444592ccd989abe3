// The fused kernels' own source on the emulated machine gives the model's numbers, bit for bit,
// whatever the order of threads, copies and products.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "emulated_machine.h"
#include "emulated_problem.h"

namespace dagpam::attention::testing {
namespace {

void expect_same(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i], b[i]) << what << " at " << i << " of " << a.size();
  }
}

std::vector<EmulatedShape> shapes(int64_t width) {
  return {
      {.name = "causal", .queries = 150, .keys = 150, .heads = 2, .kv_heads = 1, .width = width},
      {.name = "whole", .queries = 128, .keys = 256, .width = width, .causal = false},
      {.name = "more keys", .queries = 70, .keys = 300, .width = width, .forms_q_neg = false},
      {.name = "fewer keys", .queries = 140, .keys = 30, .width = width},
      {.name = "intervals",
       .batch = 2,
       .queries = 100,
       .keys = 280,
       .width = width,
       .causal = false,
       .intervals = true,
       .minus = 4},
      {.name = "long", .queries = 10, .keys = 1000, .width = width},
      {.name = "window",
       .queries = 300,
       .keys = 300,
       .width = width,
       .intervals = true,
       .window = 40},
      {.name = "two runs", .queries = 600, .keys = 90, .heads = 2, .kv_heads = 2, .width = width},
      {.name = "large",
       .queries = 64,
       .keys = 130,
       .width = width,
       .causal = false,
       .deviation = 4},
      {.name = "nothing", .queries = 3, .keys = 1, .width = width},
      {.name = "faint", .queries = 90, .keys = 90, .width = width, .plus = -1.005, .minus = 0.002},
  };
}

void check_forward(const EmulatedShape& shape, bool bf16, uint64_t seed) {
  SCOPED_TRACE(shape.name + (bf16 ? " bf16 " : " fp16 ") + std::to_string(shape.width));
  const EmulatedProblem problem(shape, bf16, seed);
  const hopper::ModelAnswer model = hopper::model_forward(problem.model());
  const hopper::ModelAnswer ours = emulated_forward(problem, seed);
  expect_same(ours.q_neg, model.q_neg, "q_neg");
  expect_same(ours.lse2, model.lse2, "lse2");
  expect_same(ours.o, model.o, "o");
  expect_same(ours.y, model.y, "y");
}

void check_backward(const EmulatedShape& shape, bool bf16, uint64_t seed) {
  SCOPED_TRACE(shape.name + (bf16 ? " bf16 " : " fp16 ") + std::to_string(shape.width));
  const EmulatedProblem problem(shape, bf16, seed);
  const hopper::ModelAnswer answer = hopper::model_forward(problem.model());
  const bool deterministic = seed % 2 == 0;
  const auto model =
      hopper::model_backward(problem.model(), answer, problem.dy.data(), deterministic);
  const auto ours = emulated_backward(problem, answer, deterministic, seed);
  expect_same(ours.rows, model.rows, "rows");
  expect_same(ours.dv, model.dv, "dv");
  expect_same(ours.dk, model.dk, "dk");
  if (shape.forms_q_neg) {
    expect_same(ours.dw_neg, model.dw_neg, "dw_neg");
  } else {
    expect_same(ours.dq_neg, model.dq_neg, "dq_neg");
  }
  expect_same(ours.dq, model.dq, "dq");
  for (size_t h = 0; h < model.dplus.size(); ++h) {
    EXPECT_NEAR(ours.dplus[h], model.dplus[h], 1e-4 * std::fabs(model.dplus[h]) + 1e-4);
    EXPECT_NEAR(ours.dminus[h], model.dminus[h], 1e-4 * std::fabs(model.dminus[h]) + 1e-4);
  }
}

TEST(HopperEmulatedTest, BackwardIsTheModel) {
  uint64_t seed = 100;
  for (const int64_t width : {64, 128}) {
    for (const EmulatedShape& shape : shapes(width)) {
      for (const bool bf16 : {true, false}) check_backward(shape, bf16, ++seed);
    }
  }
}

TEST(HopperEmulatedTest, ForwardIsTheModel) {
  uint64_t seed = 1;
  for (const int64_t width : {64, 128}) {
    for (const EmulatedShape& shape : shapes(width)) {
      for (const bool bf16 : {true, false}) check_forward(shape, bf16, ++seed);
    }
  }
}

}  // namespace
}  // namespace dagpam::attention::testing

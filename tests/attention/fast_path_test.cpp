// The fast path against the plain one: random problems in float64, where both must agree to
// rounding.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <random>

#include "support.h"

namespace dagpam::attention::testing {
namespace {

void expect_same(const Case& c) {
  const Outcome fast = solve(c, Path::kFast), plain = solve(c, Path::kReference);
  EXPECT_LE(difference(fast.y, plain.y), 1e-12);
  EXPECT_TRUE(fast.y.is_contiguous());
  ASSERT_EQ(fast.grad.size(), plain.grad.size());
  for (const auto& [name, expected] : plain.grad) {
    ASSERT_TRUE(fast.grad.count(name) > 0) << "no gradient of " << name;
    // DIFF's norm undoes most of what its lambda does: its gradients are what cancelling leaves.
    const bool cancels = c.options.kind == Kind::kDiff && name[0] == 'l';
    EXPECT_LE(difference(fast.grad.at(name), expected), cancels ? 1e-10 : 1e-12) << name;
  }
}

std::string describe(const Shape& s, Kind kind) {
  return "kind " + std::to_string(static_cast<int>(kind)) + " B " + std::to_string(s.batch) +
         " N " + std::to_string(s.queries) + " M " + std::to_string(s.keys) + " H " +
         std::to_string(s.heads) + " Hkv " + std::to_string(s.kv_heads) + " D " +
         std::to_string(s.width);
}

TEST(FastPathTest, BlockEdges) {
  for (const Kind kind : kAllKinds) {
    for (const int64_t n : {1, 31, 32, 33, 63, 64, 65, 129}) {
      const Shape shape{1, n, n, 2, 2, 8};
      SCOPED_TRACE(describe(shape, kind));
      expect_same(random_case(kind, shape, static_cast<uint64_t>(n)));
    }
  }
}

TEST(FastPathTest, HeadWidths) {
  for (const Kind kind : kAllKinds) {
    for (const int64_t width : {1, 5, 8, 20, 32, 40, 64, 96, 128}) {
      const Shape shape{2, 37, 37, 2, 2, width};
      SCOPED_TRACE(describe(shape, kind));
      expect_same(random_case(kind, shape, static_cast<uint64_t>(width)));
    }
  }
}

TEST(FastPathTest, MoreOrFewerKeysThanQueries) {
  for (const Kind kind : kAllKinds) {
    for (const bool causal : {false, true}) {
      for (const auto& [n, m] :
           {std::pair{3, 70}, {70, 3}, {64, 128}, {1, 300}, {40, 523}, {5, 0}}) {
        const Shape shape{2, n, m, 2, 2, 8};
        SCOPED_TRACE(describe(shape, kind) + (causal ? " causal" : ""));
        Case c = random_case(kind, shape, static_cast<uint64_t>(n + m));
        c.visibility.causal = causal;
        expect_same(c);
      }
    }
  }
}

TEST(FastPathTest, GroupsOfQueryHeads) {
  for (const Kind kind : kAllKinds) {
    for (const int64_t kv_heads : {1, 2, 3}) {
      for (const int64_t group : {1, 2, 3, 4}) {
        const Shape shape{2, 33, 33, kv_heads * group, kv_heads, 8};
        SCOPED_TRACE(describe(shape, kind));
        expect_same(random_case(kind, shape, static_cast<uint64_t>(10 * kv_heads + group)));
      }
    }
  }
}

TEST(FastPathTest, RandomIntervalsWithRowsThatSeeNothing) {
  for (const Kind kind : kAllKinds) {
    for (const bool causal : {false, true}) {
      const Shape shape{3, 70, 90, 4, 2, 8};
      SCOPED_TRACE(describe(shape, kind) + (causal ? " causal" : ""));
      Case c = random_case(kind, shape, 5);
      c.visibility = random_intervals(3, 70, 90, causal, 6);
      expect_same(c);
    }
  }
}

// Documents of 50 tokens in a sequence of 300: whole blocks of keys are invisible to most queries.
TEST(FastPathTest, DocumentsEndAttention) {
  Case c = random_case(Kind::kDagpam, {2, 300, 300, 2, 1, 8}, 8);
  c.visibility.begin = at::zeros({2, 300}, at::kInt);
  for (int64_t i = 0; i < 600; ++i) {
    c.visibility.begin.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(i % 300 / 50 * 50);
  }
  expect_same(c);
}

TEST(FastPathTest, RowsThatSeeNothingAreZeroWithZeroGradient) {
  for (const Path path : {Path::kFast, Path::kReference}) {
    for (const Kind kind : kAllKinds) {
      Case c = random_case(kind, {1, 4, 4, 2, 2, 8}, 9);
      c.visibility.begin = at::full({1, 4}, 4, at::kInt);
      const Outcome out = solve(c, path);
      EXPECT_EQ(out.y.abs().max().item<double>(), 0) << path;
      for (const auto& [name, grad] : out.grad) {
        EXPECT_EQ(grad.abs().max().item<double>(), 0) << path << " " << name;
      }
    }
  }
}

TEST(FastPathTest, Strides) {
  for (const Kind kind : kAllKinds) {
    const Shape shape{3, 33, 33, 2, 2, 8};
    Case sliced = random_case(kind, shape, 11);  // one projection [B, N, 3 H D], cut
    const int64_t heads = query_heads(sliced.options);
    const at::Tensor qkv = normal({3, 33, heads + 4, 8}, 12);
    sliced.q = qkv.narrow(2, 0, heads);
    sliced.k = qkv.narrow(2, heads, 2);
    sliced.v = qkv.narrow(2, heads + 2, 2);
    expect_same(sliced);
    Case by_head = random_case(kind, shape, 13);  // memory [B, H, N, D]
    for (at::Tensor* x : {&by_head.q, &by_head.k, &by_head.v, &by_head.dy}) {
      *x = x->transpose(1, 2).contiguous().transpose(1, 2);
    }
    expect_same(by_head);
    Case awkward =
        random_case(kind, shape, 14);  // strided in D; batches on top of each other; time first
    awkward.q = normal({3, 33, heads, 16}, 15).slice(3, 0, 16, 2);
    // One k for all batches. (Equal keys within a row would make every dQ zero but for rounding.)
    awkward.k = normal({1, 33, 2, 8}, 16).expand({3, 33, 2, 8});
    awkward.v = normal({33, 3, 2, 8}, 17).transpose(0, 1);
    awkward.dy = normal({1, 1, 1, 1}, 18).expand({3, 33, 2, 8});
    expect_same(awkward);
  }
}

TEST(FastPathTest, RotaryPositions) {
  for (const Kind kind : kAllKinds) {
    Case c = random_case(kind, {2, 35, 35, 4, 2, 8}, 19);
    c.rotary = rotary_table(35, 8);
    expect_same(c);
    // A table of its own for each batch row.
    c.rotary->cos = normal({2, 35, 4}, 20).cos();
    c.rotary->sin = normal({2, 35, 4}, 20).sin();
    expect_same(c);
  }
}

TEST(FastPathTest, DropoutOnWeights) {
  for (const Kind kind : kAllKinds) {
    Case c = random_case(kind, {2, 35, 70, 4, 2, 8}, 21);
    c.dropout = WeightDropout{0.3, 0x1234567890abcdefu, at::full({2}, 5, at::kLong), 3};
    c.dropout->samples.mutable_data_ptr<int64_t>()[1] = (int64_t{1} << 40) + 7;
    expect_same(c);
    c.visibility = random_intervals(2, 35, 70, true, 22);
    expect_same(c);
  }
}

TEST(FastPathTest, LambdasOfAnyValueAndScope) {
  for (const auto& [plus, minus] : {std::pair{1.0, 1.0},
                                    {-1.0, 0.5},
                                    {0.0, 0.0},
                                    {2.0, 0.0},
                                    {0.25, -3.0},
                                    {-0.99, 4.0},
                                    {-1.0, 0.0}}) {
    for (const int64_t size : {1, 4}) {
      SCOPED_TRACE(std::to_string(plus) + " " + std::to_string(minus));
      Case c = random_case(Kind::kDagpam, {2, 40, 40, 4, 2, 8}, 23);
      c.plus = at::full({size}, plus, at::kDouble);
      c.minus = at::full({size}, minus, at::kDouble);
      expect_same(c);
    }
  }
}

TEST(FastPathTest, RandomProblems) {
  std::mt19937_64 random(24);
  const auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (uint64_t i = 0; i < 60; ++i) {
    const Kind kind = kAllKinds[pick(0, 2)];
    const int64_t kv_heads = pick(1, 3), queries = pick(1, 140);
    const bool rotary = pick(0, 2) == 0;
    const int64_t keys = rotary || pick(0, 1) == 0 ? queries : pick(1, 280);
    const Shape shape{pick(1, 3), queries, keys, kv_heads * pick(1, 4), kv_heads, 2 * pick(1, 20)};
    SCOPED_TRACE("problem " + std::to_string(i) + ": " + describe(shape, kind));
    Case c = random_case(kind, shape, 1000 * i);
    c.visibility.causal = pick(0, 1) == 0;
    if (pick(0, 1) == 0) {
      c.visibility = random_intervals(shape.batch, queries, keys, c.visibility.causal, i);
    }
    if (rotary) c.rotary = rotary_table(queries, shape.width);
    if (pick(0, 2) == 0)
      c.dropout = WeightDropout{0.2, i, at::full({shape.batch}, 3, at::kLong), 0};
    expect_same(c);
  }
}

TEST(FastPathTest, ASecondDerivativeIsRefusedNotWrong) {
  for (const Kind kind : {Kind::kSoftmax, Kind::kNon}) {
    const Case c = random_case(kind, {1, 3, 3, 1, 1, 4}, 25);
    parallel::ParameterList parameters;
    const auto attention = make_attention(c.options, "", parameters, {});
    const at::Tensor q = c.q.detach().requires_grad_();
    const at::Tensor y = attention->forward({q, c.k, c.v, c.visibility});
    EXPECT_THROW(torch::autograd::grad({y}, {q}, {c.dy}, true, /*create_graph=*/true), c10::Error);
  }
}

}  // namespace
}  // namespace dagpam::attention::testing

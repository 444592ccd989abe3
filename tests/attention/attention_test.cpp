// What the interface promises: parameters, refusals, the cache, other types, threads.
#include "attention/attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "attention/maps.h"
#include "support.h"

namespace dagpam::attention::testing {
namespace {

TEST(AttentionTest, DeclaresItsParameters) {
  Options options;
  options.heads = 4;
  options.kv_heads = 2;
  options.head_width = 16;
  for (const Kind kind : kAllKinds) {
    options.kind = kind;
    parallel::ParameterList parameters;
    make_attention(options, "layers.3.attention.", parameters, [] { return Lambdas{}; });
    if (kind == Kind::kNap) {
      ASSERT_EQ(parameters.all().size(), 2u);
      for (const char* const name : {"gain", "bias"}) {
        const auto found = parameters.find(std::string("layers.3.attention.") + name);
        EXPECT_EQ(found->value.sizes(), at::IntArrayRef({4})) << name;
        EXPECT_EQ(found->init.kind, parallel::Init::Kind::kConstant) << name;
      }
      continue;
    }
    if (kind == Kind::kDiff) {
      ASSERT_EQ(parameters.all().size(), 5u);
      for (const char* const name : {"lq1", "lk1", "lq2", "lk2"}) {
        const auto found = parameters.find(std::string("layers.3.attention.") + name);
        EXPECT_EQ(found->value.sizes(), at::IntArrayRef({16})) << name;
        EXPECT_EQ(found->init.deviation, 0.1) << name;
        EXPECT_FALSE(found->decay) << name;
      }
      EXPECT_EQ(parameters.find("layers.3.attention.norm")->value.sizes(), at::IntArrayRef({32}));
      continue;
    }
    if (kind != Kind::kSoftmaxWide && kind != Kind::kDagpam) {
      EXPECT_TRUE(parameters.all().empty());
      continue;
    }
    ASSERT_EQ(parameters.all().size(), 1u);
    const parallel::Parameter& w = *parameters.all()[0];
    EXPECT_EQ(w.name, "layers.3.attention.w_neg");
    EXPECT_EQ(w.value.sizes(), at::IntArrayRef({4, 16, 16}));
    EXPECT_EQ(w.init.kind, parallel::Init::Kind::kNormal);
    EXPECT_EQ(w.init.deviation, 0.25);
    EXPECT_TRUE(w.decay);
  }
}

TEST(AttentionTest, RefusesWhatDoesNotFit) {
  parallel::ParameterList parameters;
  Options options;
  options.heads = 3;
  options.kv_heads = 2;
  EXPECT_THROW(make_attention(options, "", parameters, {}), c10::Error);
  options.kv_heads = 0;
  EXPECT_THROW(make_attention(options, "", parameters, {}), c10::Error);
  options.kv_heads = 3;
  options.kind = Kind::kDagpam;
  EXPECT_THROW(make_attention(options, "", parameters, {}), c10::Error) << "no lambdas";
  options.kind = Kind::kDiff;
  EXPECT_THROW(make_attention(options, "", parameters, {}), c10::Error) << "no pairs";

  const auto expect_refusal = [](auto change, const char* what) {
    Case c = random_case(Kind::kDagpam, {2, 4, 4, 2, 2, 8}, 1);
    c.dropout = WeightDropout{0.1, 0, at::zeros({2}, at::kLong), 0};
    c.rotary = rotary_table(4, 8);
    change(c);
    EXPECT_THROW(solve(c, Path::kFast), c10::Error) << what;
  };
  expect_refusal([](Case& c) { c.q = c.q.narrow(2, 0, 1); }, "heads of q");
  expect_refusal([](Case& c) { c.k = c.k.narrow(2, 0, 1); }, "heads of k");
  expect_refusal([](Case& c) { c.v = c.v.narrow(1, 0, 3); }, "keys of v");
  expect_refusal([](Case& c) { c.k = c.k.to(at::kFloat); }, "type of k");
  expect_refusal([](Case& c) { c.plus = at::zeros({3}, at::kDouble); }, "lambdas");
  expect_refusal([](Case& c) { c.visibility.end = at::zeros({2, 5}, at::kInt); }, "rows of end");
  expect_refusal(
      [](Case& c) {
        c.visibility.begin = at::zeros({2, 4}, at::kLong);
      },
      "type of begin");
  expect_refusal([](Case& c) { c.dropout->p = 1; }, "dropout of everything");
  Case gated = random_case(Kind::kDiff2, {2, 4, 4, 2, 2, 8}, 2);
  gated.gate = gated.gate.narrow(2, 0, 1);
  EXPECT_THROW(solve(gated, Path::kFast), c10::Error) << "gates of some heads";
  gated = random_case(Kind::kDiff2, {2, 4, 4, 2, 2, 8}, 2);
  gated.q = gated.q.narrow(2, 0, 2);
  EXPECT_THROW(solve(gated, Path::kFast), c10::Error) << "queries of one map";
  expect_refusal([](Case& c) { c.dropout->samples = at::zeros({3}, at::kLong); }, "samples");
  expect_refusal([](Case& c) { c.rotary->cos = at::zeros({4, 3}, at::kDouble); }, "rotary table");
}

TEST(AttentionTest, IntervalsAreCutToTheKeys) {
  Visibility visibility;
  visibility.causal = false;
  visibility.begin = at::full({1, 2}, -5, at::kInt);
  visibility.end = at::full({1, 2}, 99, at::kInt);
  const at::Tensor bounds = key_bounds(visibility, 1, 2, 7);
  EXPECT_TRUE(bounds.select(0, 0).eq(0).all().item<bool>());
  EXPECT_TRUE(bounds.select(0, 1).eq(7).all().item<bool>());
  // Causal: the last query is aligned with the last key, and the first two of four see nothing.
  const at::Tensor causal = key_bounds(Visibility{}, 3, 4, 2).select(0, 1).flatten();
  for (int64_t n = 0; n < 4; ++n) {
    EXPECT_EQ(causal[n].item<int32_t>(), std::max<int64_t>(0, n - 1)) << n;
  }
}

// Tokens one by one, or some at a time, through the cache: the same answers as the whole sequence
// at once.
TEST(AttentionTest, DecodingWithACacheEqualsTheWholeSequence) {
  const c10::AutoGradMode no_gradients(false);
  for (const Kind kind : kAllKinds) {
    for (const bool reference : {false, true}) {
      Case c = random_case(kind, {2, 23, 23, 4, 2, 8}, 31);
      c.options.reference = reference;
      const Rotary rotary = rotary_table(23, 8);
      parallel::ParameterList parameters;
      const auto attention = make_attention(c.options, "", parameters, [&] {
        return Lambdas{c.plus, c.minus};
      });
      give_parameters(c, parameters);
      const at::Tensor whole = attention->forward({c.q, c.k, c.v, c.visibility, c.gate, &rotary});
      KeyValueCache cache;
      std::vector<at::Tensor> parts;
      int64_t at = 0;
      for (const int64_t count : {5, 1, 1, 1, 7, 1, 1, 6}) {
        const auto part = [&](const at::Tensor& x) { return x.narrow(1, at, count); };
        const Rotary here{rotary.cos.narrow(0, at, count), rotary.sin.narrow(0, at, count)};
        parts.push_back(attention->forward(
            {part(c.q), part(c.k), part(c.v), c.visibility, part(c.gate), &here, nullptr, &cache}));
        at += count;
        EXPECT_EQ(cache.length, at);
        EXPECT_GE(cache.k.size(1), at);
      }
      EXPECT_EQ(cache.k.size(1), 40) << "the room doubles: 5, 10, 20, 40";
      EXPECT_LE(difference(at::cat(parts, 1), whole), 1e-13);
    }
  }
}

TEST(AttentionTest, ACacheIsForGenerationAlone) {
  Case c = random_case(Kind::kSoftmax, {1, 3, 3, 1, 1, 4}, 32);
  parallel::ParameterList parameters;
  const auto attention = make_attention(c.options, "", parameters, {});
  KeyValueCache cache;
  EXPECT_THROW(attention->forward(
                   {c.q, c.k.requires_grad_(), c.v, c.visibility, {}, nullptr, nullptr, &cache}),
               c10::Error);
}

TEST(AttentionTest, OtherTypesTakeThePlainPath) {
  for (const Kind kind : kAllKinds) {
    const Case c = random_case(kind, {2, 20, 20, 2, 1, 8}, 33);
    const Outcome narrow = solve(as_type(c, at::kBFloat16), Path::kFast);
    // Of the same rounded numbers: COG's weights change sign where a score is near 0.
    const Outcome wide = solve(as_type(as_type(c, at::kBFloat16), at::kDouble), Path::kReference);
    EXPECT_EQ(narrow.y.scalar_type(), at::kBFloat16);
    EXPECT_LE(difference(narrow.y, wide.y), 0.05);
    for (const auto& [name, grad] : wide.grad) {
      EXPECT_LE(difference(narrow.grad.at(name), grad), 0.1) << name;
    }
  }
}

TEST(AttentionTest, FixedLambdasNeedNoGradient) {
  const c10::AutoGradMode gradients(true);
  const Case c = random_case(Kind::kDagpam, {2, 20, 20, 2, 1, 8}, 34);
  parallel::ParameterList parameters;
  const auto attention = make_attention(c.options, "", parameters, [&] {
    return Lambdas{c.plus, c.minus};
  });
  parameters.find("w_neg")->value = c.w_neg;
  const at::Tensor q = c.q.detach().requires_grad_();
  attention->forward({q, c.k, c.v, c.visibility}).backward(c.dy);
  EXPECT_LE(difference(q.grad(), solve(c, Path::kReference).grad.at("q")), 1e-12);
}

// The kernels' bits do not depend on the number of threads: work is cut by head and by block, never
// by thread.
TEST(AttentionTest, ThreadsDoNotChangeABit) {
  for (const Kind kind : {Kind::kSoftmax, Kind::kSoftmaxWide, Kind::kDagpam}) {
    for (const Shape& shape : {Shape{3, 70, 70, 6, 2, 16}, Shape{1, 130, 130, 1, 1, 64}}) {
      Case c = as_type(random_case(kind, shape, 35), at::kFloat);
      c.rotary = rotary_table(shape.queries, shape.width);
      c.dropout = WeightDropout{0.1, 3, at::zeros({shape.batch}, at::kLong), 0};
      at::set_num_threads(1);
      const Outcome one = solve(c, Path::kFast);
      for (const int threads : {2, 3, 5}) {
        at::set_num_threads(threads);
        const Outcome many = solve(c, Path::kFast);
        EXPECT_TRUE(bit_equal(many.y, one.y)) << threads << " threads";
        for (const auto& [name, grad] : one.grad) {
          EXPECT_TRUE(bit_equal(many.grad.at(name), grad)) << name << ", " << threads << " threads";
        }
      }
      at::set_num_threads(1);
    }
  }
}

}  // namespace
}  // namespace dagpam::attention::testing

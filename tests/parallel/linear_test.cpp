// A linear layer and an embedding that add their parameters' gradients where they are summed: the
// numbers of autograd alone, without its tensors.
#include "parallel/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "parallel/embedding.h"
#include "parallel/gradient_buckets.h"
#include "parallel/parameter.h"
#include "parallel/random.h"
#include "parallel/reached_hook.h"
#include "parallel/sharded_gradients.h"
#include "tests/parallel/recorder.h"

namespace dagpam::parallel {
namespace {

constexpr int64_t kOut = 6, kIn = 5;

at::Tensor noise(std::vector<int64_t> shape, const std::string& name) {
  const at::Tensor t = at::zeros(shape, at::kFloat);
  initialise(t, {shape, -1, 0}, Init::normal(1), 5, name);
  return t;
}

ParameterList layer_parameters(at::ScalarType type = at::kFloat) {
  ParameterList list(0, 1, type);
  list.add("weight", {kOut, kIn}, Init::normal(1));
  list.add("bias", {kOut}, Init::normal(1));
  list.initialise(1);
  return list;
}

// Gradients of weight, bias and x of one call, by `layer`.
template <class Layer>
std::vector<at::Tensor> gradients(const ParameterList& list, const std::string& batch,
                                  Layer layer) {
  const at::ScalarType type = list.all()[0]->value.scalar_type();
  const at::Tensor x = noise({2, 4, kIn}, batch).to(type).requires_grad_();
  const at::Tensor y = layer(x, list);
  y.backward(noise({2, 4, kOut}, batch + " slope").to(type));
  return {list.all()[0]->value.grad(), list.all()[1]->value.grad(), x.grad(), y.detach()};
}

at::Tensor ours(const at::Tensor& x, const ParameterList& list) {
  return linear(x, *list.all()[0], list.all()[1].get());
}

at::Tensor library(const at::Tensor& x, const ParameterList& list) {
  return at::linear(x, list.all()[0]->value, list.all()[1]->value);
}

void expect_equal(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(got[i].defined()) << i;
    EXPECT_TRUE(got[i].equal(expected[i])) << i << "\n" << got[i] << "\n" << expected[i];
  }
}

TEST(LinearTest, AloneIsTheLibrarysToTheBit) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const ParameterList a = layer_parameters(type), b = layer_parameters(type);
    expect_equal(gradients(a, "x", ours), gradients(b, "x", library));
  }
}

TEST(LinearTest, ReadsAsManyRowsAsItIsTold) {
  const ParameterList a = layer_parameters(), b = layer_parameters();
  const at::Tensor x = noise({3, kIn}, "x"), slope = noise({3, 4}, "slope");
  const at::Tensor y = linear(x, *a.all()[0], nullptr, 4);
  const at::Tensor expected = at::linear(x, b.all()[0]->value.narrow(0, 0, 4));
  EXPECT_TRUE(y.equal(expected));
  y.backward(slope);
  expected.backward(slope);
  EXPECT_TRUE(a.all()[0]->value.grad().equal(b.all()[0]->value.grad()));
  // In a bucket the other rows are 0, whatever lay there.
  const auto self = make_self_communicator();
  GradientBuckets buckets(a.all(), *self, *self, 1 << 20);
  buckets.flat()[0].fill_(7);
  buckets.begin_step();
  buckets.reduce_from_now_on();
  linear(x, *a.all()[0], nullptr, 4).backward(slope);
  buckets.finish_step();
  EXPECT_TRUE(a.all()[0]->value.grad().equal(b.all()[0]->value.grad()));
  EXPECT_EQ(a.all()[1]->value.grad().abs().max().item<float>(), 0);
}

TEST(LinearTest, AddsUpInTheBucketOverMicroBatches) {
  const ParameterList a = layer_parameters(), b = layer_parameters();
  const auto self = make_self_communicator();
  GradientBuckets buckets(a.all(), *self, *self, 1 << 20);
  for (int step = 0; step < 2; ++step) {
    buckets.begin_step();
    for (const ParameterPtr& p : b.all()) p->value.mutable_grad() = at::Tensor();
    const auto first = gradients(a, "x", ours);
    expect_equal(first, gradients(b, "x", library));
    EXPECT_TRUE(first[0].is_alias_of(buckets.flat()[0]));
    buckets.reduce_from_now_on();
    const auto both = gradients(a, "other", ours), expected = gradients(b, "other", library);
    buckets.finish_step();
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_LT((both[i] - expected[i]).abs().max().item<double>(), 4e-6) << i;
      EXPECT_TRUE(both[i].is_alias_of(buckets.flat()[0])) << i;
    }
  }
}

// The layer's own sums, autograd's, and both in one backward and over micro-batches.
TEST(LinearTest, MixesWithWhatAutogradAccumulates) {
  const auto mixed = [](const ParameterList& list, bool use_ours) {
    const at::Tensor x = noise({7, kIn}, "x");
    at::Tensor loss = library(x, list).square().sum() + list.all()[0]->value.square().sum();
    loss = loss + (use_ours ? ours(x, list) : library(x, list)).square().sum();
    loss.backward();
  };
  const ParameterList a = layer_parameters(), b = layer_parameters();
  const auto self = make_self_communicator();
  GradientBuckets buckets(a.all(), *self, *self, 1 << 20);
  buckets.begin_step();
  for (int micro = 0; micro < 3; ++micro) {
    if (micro == 2) buckets.reduce_from_now_on();
    mixed(a, true);
    mixed(b, false);
  }
  buckets.finish_step();
  for (size_t i = 0; i < 2; ++i) {
    const at::Tensor got = a.all()[i]->value.grad(), expected = b.all()[i]->value.grad();
    EXPECT_LT((got - expected).abs().max().item<double>(),
              1e-6 * expected.abs().max().item<double>())
        << i;
  }
}

// A bfloat16 parameter's bucket is float32, a sharded one has no whole rows in one place.
TEST(LinearTest, GoesThroughAutogradWhereTheSumIsOfAnotherKind) {
  const auto self = make_self_communicator();
  const ParameterList a = layer_parameters(at::kBFloat16), b = layer_parameters(at::kBFloat16);
  GradientBuckets buckets(a.all(), *self, *self, 1 << 20);
  EXPECT_EQ(gradient_sum(a.all()[0]->value), nullptr);
  buckets.begin_step();
  buckets.reduce_from_now_on();
  gradients(a, "x", ours);
  buckets.finish_step();
  const auto expected = gradients(b, "x", library);
  EXPECT_TRUE(buckets.slices()[1].grad.equal(expected[0].to(at::kFloat)));
  EXPECT_TRUE(buckets.slices()[0].grad.equal(expected[1].to(at::kFloat)));

  const ParameterList c = layer_parameters(), d = layer_parameters();
  ShardedGradients sharded(c.all(), *self, *self, 1 << 20, /*overlap=*/false);
  EXPECT_EQ(gradient_sum(c.all()[0]->value), nullptr);
  sharded.begin_step();
  sharded.reduce_from_now_on();
  gradients(c, "x", ours);
  sharded.finish_step();
  const auto plain = gradients(d, "x", library);
  for (const ParameterSlice& slice : sharded.slices()) {
    const size_t i = slice.parameter->name == "weight" ? 0 : 1;
    EXPECT_TRUE(slice.grad.equal(plain[i])) << i;
  }
}

// A table that is embedding and output at once, as a model's may be.
TEST(LinearTest, ATiedTableIsReducedAfterBothOfItsUses) {
  run_ranks_as_threads(2, [](Communicator& group) {
    ParameterList a, b;
    for (ParameterList* list : {&a, &b}) {
      list->add("table", {9, kIn}, Init::normal(1));
      list->add("between", {kIn, kIn}, Init::normal(1));
      list->initialise(3);
    }
    const at::Tensor ids = at::arange(12, at::kLong).remainder(4).add(group.rank()).view({3, 4});
    std::vector<std::string> events;
    Recorder recorder(group, events);
    const auto self = make_self_communicator();
    GradientBuckets buckets(a.all(), recorder, *self, 1);
    buckets.begin_step();
    buckets.reduce_from_now_on();
    const auto model = [&](const ParameterList& list, bool use_ours) {
      Parameter &table = *list.all()[0], &between = *list.all()[1];
      if (use_ours) {
        const at::Tensor x = parallel::embedding(table.value, ids);
        return linear(linear(x, between, nullptr), table, nullptr).square().sum();
      }
      const at::Tensor x = at::embedding(table.value, ids);
      return at::linear(at::linear(x, between.value), table.value).square().sum();
    };
    model(a, true).backward();
    EXPECT_EQ(events, (std::vector<std::string>{"start 25", "start 45"}));
    buckets.finish_step();
    model(b, false).backward();
    for (size_t i = 0; i < 2; ++i) {
      at::Tensor expected = b.all()[i]->value.grad().clone();
      group.all_reduce(expected);
      EXPECT_LT((a.all()[i]->value.grad() - expected).abs().max().item<double>(),
                2e-6 * expected.abs().max().item<double>())
          << i;
    }
  });
}

TEST(LinearTest, WithoutGradientsThereIsNone) {
  const ParameterList list = layer_parameters();
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(ours(noise({2, kIn}, "x"), list).requires_grad());
}

}  // namespace
}  // namespace dagpam::parallel

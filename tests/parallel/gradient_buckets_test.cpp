#include "parallel/gradient_buckets.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/parameter.h"
#include "tests/parallel/gradient_cases.h"
#include "tests/parallel/recorder.h"

namespace dagpam::parallel {
namespace {

class GradientRanks : public testing::TestWithParam<int> {};

TEST_P(GradientRanks, EveryCase) { run_ranks_as_threads(GetParam(), cases::all_gradient_cases); }

INSTANTIATE_TEST_SUITE_P(Sizes, GradientRanks, testing::Range(1, 5));

TEST(GradientBuckets, ReductionsStartWhileBackwardRuns) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    std::vector<std::string> events;
    Recorder recorder(group, events);
    const auto self = make_self_communicator();
    GradientBuckets buckets(list.all(), recorder, *self, 1);
    for (const ParameterPtr& parameter : list.all()) {  // before the gradient is accumulated
      parameter->value.register_hook([&events, name = parameter->name](const at::Tensor& grad) {
        events.push_back(name);
        return grad;
      });
    }
    buckets.begin_step();
    loss_of(list, at::ones({5})).backward();
    EXPECT_EQ(events, (std::vector<std::string>{"w3", "w2", "w1", "w0"}));  // not the last one
    events.clear();
    buckets.reduce_from_now_on();
    loss_of(list, at::ones({5})).backward();
    events.push_back("end of backward");
    buckets.finish_step();
    EXPECT_EQ(events, (std::vector<std::string>{"w3", "start 4", "w2", "start 3", "w1", "start 2",
                                                "w0", "start 1", "end of backward", "end 4",
                                                "end 3", "end 2", "end 1"}));
  });
}

TEST(GradientBuckets, WithoutOverlapAllWaitsForTheEndOfBackward) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    std::vector<std::string> events;
    Recorder recorder(group, events);
    const auto self = make_self_communicator();
    GradientBuckets buckets(list.all(), recorder, *self, 1, /*overlap=*/false);
    buckets.begin_step();
    buckets.reduce_from_now_on();
    loss_of(list, at::ones({5})).backward();
    EXPECT_TRUE(events.empty());
    buckets.finish_step();
    EXPECT_EQ(events.size(), 8u);
    EXPECT_EQ(list.all()[3]->value.grad()[0].item<float>(), 2 * 5.0f * 1 * 2 * 3);
  });
}

// A rank that misses the first bucket holds back its others: all ranks start them in one order.
TEST(GradientBuckets, OrderIsTheSameWhereAParameterIsUnused) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    std::vector<std::string> events;
    Recorder recorder(group, events);
    const auto self = make_self_communicator();
    GradientBuckets buckets(list.all(), recorder, *self, 1);
    buckets.begin_step();
    buckets.reduce_from_now_on();
    if (group.rank() == 1) {
      (list.all()[0]->value.sum() * list.all()[2]->value.sum()).backward();
      EXPECT_TRUE(events.empty());
    } else {
      loss_of(list, at::ones({5})).backward();
      EXPECT_EQ(events.size(), 4u);
    }
    buckets.finish_step();
    const std::vector<std::string> expected = {"start 4", "start 3", "start 2", "start 1",
                                               "end 4",   "end 3",   "end 2",   "end 1"};
    EXPECT_EQ(events, expected);
  });
}

TEST(GradientBuckets, FollowTheReverseOfDeclarationAndTheSizes) {
  ParameterList list;
  list.add("a", {1 << 18}, Init::constant(0));  // 1 MiB each
  list.add("b", {1 << 18}, Init::constant(0));
  list.add("c", {1 << 18}, Init::constant(0));
  list.add("d", {1 << 19}, Init::constant(0));
  list.add("e", {1 << 17}, Init::constant(0));
  list.add("f", {1 << 17}, Init::constant(0));
  const auto self = make_self_communicator();
  const GradientBuckets buckets(list.all(), *self, *self, int64_t{3} << 20);
  std::vector<int64_t> sizes;
  for (const at::Tensor& flat : buckets.flat()) {
    sizes.push_back(flat.numel() >> 17);
  }
  EXPECT_EQ(sizes, (std::vector<int64_t>{2, 6, 4}));  // f e | d c | b a
  const GradientBuckets single(list.all(), *self, *self, 1);
  EXPECT_EQ(single.flat().size(), 6u);
}

TEST(GradientBuckets, OneRankReducesAndCopiesNothingTwice) {
  const ParameterList list = chain();
  const auto self = make_self_communicator();
  GradientBuckets buckets(list.all(), *self, *self, 1);
  buckets.begin_step();
  EXPECT_FALSE(list.all()[0]->value.grad().defined());
  buckets.reduce_from_now_on();
  loss_of(list, at::ones({5})).backward();
  const void* place = list.all()[3]->value.grad().data_ptr();
  EXPECT_EQ(place, buckets.flat()[0].data_ptr());
  buckets.finish_step();
  EXPECT_EQ(list.all()[3]->value.grad().data_ptr(), place);
  EXPECT_EQ(self->counts().all_reduce.calls, 0);
}

TEST(GradientBuckets, LetGoOfTheParametersAtTheEnd) {
  const ParameterList list = chain();
  const auto self = make_self_communicator();
  { const GradientBuckets buckets(list.all(), *self, *self, 1); }
  loss_of(list, at::ones({5})).backward();
  EXPECT_EQ(list.all()[0]->value.grad().item<float>(), 5.0f * 2 * 3 * 4);
}

TEST(GradientBuckets, RefuseMisuse) {
  const auto self = make_self_communicator();
  const ParameterList list = chain();
  EXPECT_THROW(GradientBuckets(list.all(), *self, *self, 0), c10::Error);
  GradientBuckets buckets(list.all(), *self, *self, 1);
  buckets.begin_step();
  buckets.reduce_from_now_on();
  EXPECT_THROW(buckets.reduce_from_now_on(), c10::Error);
  ParameterList frozen;
  frozen.add("w", {2}, Init::constant(1))->value.set_requires_grad(false);
  EXPECT_THROW(GradientBuckets(frozen.all(), *self, *self, 1), c10::Error);
}

}  // namespace
}  // namespace dagpam::parallel

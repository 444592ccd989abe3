#include "parallel/sharded_gradients.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "parallel/gradient_buckets.h"
#include "tests/parallel/recorder.h"

namespace dagpam::parallel {
namespace {

using Events = std::vector<std::string>;

// Each rank's slices move by -1; all others hear of it.
void move_slices(const GradientReducer& gradients) {
  const c10::AutoGradMode no_grad(false);
  for (const ParameterSlice& slice : gradients.slices()) slice.value.sub_(1);
}

void train(GradientReducer& gradients, const ParameterList& list, int64_t micro_batches = 1) {
  gradients.begin_step();
  for (int64_t i = 0; i < micro_batches; ++i) {
    if (i + 1 == micro_batches) gradients.reduce_from_now_on();
    loss_of(list, at::ones({5})).backward();
  }
  gradients.finish_step();
}

// Rows of w0 to w3 on two ranks: 1, 1, 2, 2 a rank.
TEST(ShardedGradients, UpdatesArriveAtTheFirstUse) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    Events events;
    Recorder recorder(group, events);
    const auto self = make_self_communicator();
    ShardedGradients gradients(list.all(), recorder, *self, 1);
    train(gradients, list);
    move_slices(gradients);
    events.clear();
    gradients.finish_update({});
    // What a forward pass uses first is gathered first, and nothing is waited for.
    EXPECT_EQ(events, (Events{"gather 1", "gather 1", "gather 2", "gather 2"}));
    events.clear();
    EXPECT_TRUE(list.all()[2]->ready().equal(at::zeros({3})));
    EXPECT_EQ(events, (Events{"end 2"}));
    list.all()[2]->ready();
    EXPECT_EQ(events.size(), 1u);
    loss_of(list, at::ones({5}));
    EXPECT_EQ(events, (Events{"end 2", "end 1", "end 1", "end 2"}));
    for (const ParameterPtr& parameter : list.all()) {
      EXPECT_TRUE(parameter->value.equal(at::zeros_like(parameter->value))) << parameter->name;
    }
  });
}

TEST(ShardedGradients, AllArriveWhenAskedTo) {
  run_ranks_as_threads(3, [](Communicator& group) {
    const ParameterList list = chain();
    const auto self = make_self_communicator();
    ShardedGradients gradients(list.all(), group, *self, 1);
    train(gradients, list);
    move_slices(gradients);
    gradients.finish_update({});
    gradients.wait_for_parameters();
    for (const ParameterPtr& parameter : list.all()) {
      EXPECT_FALSE(parameter->arriving) << parameter->name;
      EXPECT_TRUE(parameter->value.equal(at::zeros_like(parameter->value))) << parameter->name;
    }
  });
}

// A parameter that no forward pass uses must have arrived before its place takes gradients again.
TEST(ShardedGradients, AnUnusedParameterArrivesToo) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    const auto self = make_self_communicator();
    ShardedGradients gradients(list.all(), group, *self, 1);
    for (int step = 0; step < 2; ++step) {
      gradients.begin_step();
      gradients.reduce_from_now_on();
      (list.all()[0]->ready().sum() * 3).backward();
      gradients.finish_step();
      for (const ParameterSlice& slice : gradients.slices()) {
        const float expected = slice.parameter->name == "w0" ? 6.0f : 0.0f;
        EXPECT_EQ(slice.grad.sum().item<float>(),
                  expected * static_cast<float>(slice.grad.numel()));
      }
      move_slices(gradients);
      gradients.finish_update({});
    }
    gradients.wait_for_parameters();
    EXPECT_EQ(list.all()[3]->value.sum().item<float>(), -4);
  });
}

TEST(ShardedGradients, WithoutOverlapNothingIsLeftToArrive) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    const auto self = make_self_communicator();
    ShardedGradients gradients(list.all(), group, *self, 1, /*overlap=*/false);
    train(gradients, list);
    gradients.finish_update({});
    for (const ParameterPtr& parameter : list.all()) EXPECT_FALSE(parameter->arriving);
  });
}

// Thrown away with weights still on their way.
TEST(ShardedGradients, EndInGoodOrder) {
  run_ranks_as_threads(2, [](Communicator& group) {
    const ParameterList list = chain();
    const auto self = make_self_communicator();
    {
      ShardedGradients gradients(list.all(), group, *self, 1);
      train(gradients, list);
      gradients.finish_update({});
    }
    EXPECT_TRUE(list.all()[0]->ready().equal(at::ones({1})));
    group.barrier();
  });
}

// Of bfloat16 weights: gradients 257 and 1 a micro-batch, whose sum no bfloat16 holds, are summed
// in float32; a master takes steps too small for its weight; ranks' weights are the same bits.
class Masters : public testing::TestWithParam<int> {};

TEST_P(Masters, AreWhatIsSummedAndUpdated) {
  run_ranks_as_threads(GetParam(), [](Communicator& group) {
    for (const bool zero : {false, true}) {
      ParameterList list(0, 1, at::kBFloat16);
      list.add("a", {5, 3}, Init::constant(1));
      list.add("b", {7}, Init::constant(1));
      list.initialise(1);
      const auto self = make_self_communicator();
      std::unique_ptr<GradientReducer> gradients;
      if (zero) {
        gradients = std::make_unique<ShardedGradients>(list.all(), group, *self, 64);
      } else {
        gradients = std::make_unique<GradientBuckets>(list.all(), group, *self, 64);
      }
      const c10::AutoGradMode grad(true);
      for (const ParameterSlice& slice : gradients->slices()) slice.value.fill_(1);
      for (int step = 1; step <= 3; ++step) {
        gradients->begin_step();
        for (const int64_t slope : {256, 1}) {
          if (slope == 1) gradients->reduce_from_now_on();
          at::Tensor loss = at::zeros({}, at::kBFloat16);
          for (const ParameterPtr& p : list.all()) {
            loss = loss + (p->ready() * static_cast<double>(slope)).sum();
          }
          loss.backward();
          for (const ParameterPtr& p : list.all()) EXPECT_FALSE(p->value.grad().defined());
        }
        gradients->finish_step();
        const float sum = 257.0f * static_cast<float>(group.size());
        EXPECT_FLOAT_EQ(gradients->norm().item<float>(), sum * std::sqrt(22.0f));
        for (const ParameterSlice& slice : gradients->slices()) {
          EXPECT_EQ(slice.grad.scalar_type(), at::kFloat);
          EXPECT_TRUE(slice.grad.eq(sum).all().item<bool>()) << zero;
          slice.value.add_(0x1p-9);  // a quarter of the distance to the next weight
        }
        gradients->finish_update({});
        gradients->wait_for_parameters();
        const float weight = step < 3 ? 1.0f : 1.0f + 0x1p-7f;  // a half is tied, to even
        for (const ParameterPtr& p : list.all()) {
          EXPECT_TRUE(p->value.eq(weight).all().item<bool>()) << zero << ", step " << step;
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Masters, testing::Range(1, 5));

}  // namespace
}  // namespace dagpam::parallel

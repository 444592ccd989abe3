#include "tests/parallel/gradient_cases.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/gradient_buckets.h"
#include "parallel/parameter.h"

namespace dagpam::parallel::cases {
namespace {

ParameterList some_parameters() {
  ParameterList list;
  list.add("embedding", {3, 5}, Init::normal(1));
  list.add("bias", {7}, Init::normal(1));
  list.add("nothing", {0, 4}, Init::normal(1));
  list.add("lambda", {}, Init::normal(1));
  list.add("weight", {4, 4, 2}, Init::normal(1));
  list.initialise(1);
  return list;
}

// The gradient of parameter k in a batch of weight `factor`: factor * (k + 1, k + 2, ...).
at::Tensor slope(const Parameter& parameter, size_t k, int64_t factor) {
  const int64_t n = parameter.value.numel();
  return (at::arange(n, at::kFloat) + static_cast<double>(k + 1))
      .mul(static_cast<double>(factor))
      .view(parameter.value.sizes());
}

// A loss with those gradients, in two terms, but for the parameter `left_out`.
void backward(const ParameterList& list, int64_t factor, size_t left_out = SIZE_MAX) {
  at::Tensor loss = at::zeros({});
  for (size_t k = 0; k < list.all().size(); ++k) {
    if (k != left_out) {
      const Parameter& parameter = *list.all()[k];
      const at::Tensor once = slope(parameter, k, 1);
      loss = loss + (parameter.value * (once * static_cast<double>(factor - 1))).sum() +
             (parameter.value * once).sum();
    }
  }
  loss.backward();
}

void expect_gradients(const ParameterList& list, const std::vector<int64_t>& factors,
                      const std::string& what) {
  for (size_t k = 0; k < list.all().size(); ++k) {
    const Parameter& parameter = *list.all()[k];
    EXPECT_TRUE(parameter.value.grad().equal(slope(parameter, k, factors[k])))
        << what << ", parameter " << parameter.name;
  }
}

void expect_in_buckets(const ParameterList& list, const GradientBuckets& buckets) {
  int64_t elements = 0;
  for (const at::Tensor& flat : buckets.flat()) {
    elements += flat.numel();
  }
  EXPECT_EQ(elements, list.count());
  for (const ParameterPtr& parameter : list.all()) {
    bool found = false;
    for (const at::Tensor& flat : buckets.flat()) {
      found = found || flat.is_alias_of(parameter->value.grad());
    }
    EXPECT_TRUE(found) << parameter->name;
  }
}

}  // namespace

void gradients_are_sums(Communicator& group, int64_t bucket_bytes) {
  const ParameterList list = some_parameters();
  const auto self = make_self_communicator();
  GradientBuckets buckets(list.all(), group, *self, bucket_bytes);
  const int64_t ranks = int64_t{group.size()} * (group.size() + 1) / 2;
  for (const int64_t micro_batches : {1, 3, 2}) {  // steps; nothing of one stays in the next
    buckets.begin_step();
    for (int64_t micro = 1; micro <= micro_batches; ++micro) {
      if (micro == micro_batches) {
        buckets.reduce_from_now_on();
      }
      backward(list, (group.rank() + 1) * micro);
    }
    buckets.finish_step();
    const int64_t factor = ranks * micro_batches * (micro_batches + 1) / 2;
    expect_gradients(list, std::vector<int64_t>(list.all().size(), factor), "sum");
    expect_in_buckets(list, buckets);
  }
}

void gradients_are_those_of_one_rank(Communicator& group, int64_t bucket_bytes) {
  const ParameterList shared = some_parameters(), alone = some_parameters();
  const auto self = make_self_communicator();
  GradientBuckets buckets(shared.all(), group, *self, bucket_bytes);
  GradientBuckets one(alone.all(), *self, *self, bucket_bytes);
  buckets.begin_step();
  one.begin_step();
  buckets.reduce_from_now_on();
  backward(shared, 10 + group.rank());
  buckets.finish_step();
  for (int rank = 0; rank < group.size(); ++rank) {
    backward(alone, 10 + rank);
  }
  one.finish_step();
  EXPECT_EQ(self->counts().all_reduce.calls, 0);
  ASSERT_EQ(buckets.flat().size(), one.flat().size());
  for (size_t i = 0; i < one.flat().size(); ++i) {
    EXPECT_TRUE(buckets.flat()[i].equal(one.flat()[i])) << "bucket " << i;
  }
}

void parameters_may_be_unused(Communicator& group, int64_t bucket_bytes) {
  const ParameterList list = some_parameters();
  const size_t parameters = list.all().size();
  const auto self = make_self_communicator();
  GradientBuckets buckets(list.all(), group, *self, bucket_bytes);
  std::vector<int64_t> factors(parameters, group.size());
  for (int rank = 0; rank < group.size(); ++rank) {
    --factors[static_cast<size_t>(rank) % parameters];
  }
  for (int step = 0; step < 2; ++step) {
    buckets.begin_step();
    buckets.reduce_from_now_on();
    backward(list, 1, static_cast<size_t>(group.rank()) % parameters);
    buckets.finish_step();
    expect_gradients(list, factors, "one left out by each rank");
  }
  buckets.begin_step();
  buckets.finish_step();  // no backward at all
  expect_gradients(list, std::vector<int64_t>(parameters, 0), "all left out");
}

}  // namespace dagpam::parallel::cases

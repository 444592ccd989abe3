// One query against many keys: the path of generation against the plain one, and its bits.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "support.h"

namespace dagpam::attention::testing {
namespace {

constexpr Kind kAllKinds[] = {Kind::kSoftmax, Kind::kSoftmaxWide, Kind::kDagpam};

void expect_same(const Case& c) {
  const Outcome fast = solve(c, Path::kFast), plain = solve(c, Path::kReference);
  EXPECT_LE(difference(fast.y, plain.y), 1e-12);
  for (const auto& [name, expected] : plain.grad) {
    EXPECT_LE(difference(fast.grad.at(name), expected), 1e-12) << name;
  }
}

TEST(DecodeTest, AnyNumberOfKeysAndHeads) {
  for (const Kind kind : kAllKinds) {
    for (const int64_t keys : {1, 2, 3, 4, 5, 16, 17, 301}) {
      for (const int64_t kv_heads : {1, 3}) {
        for (const int64_t group : {1, 2}) {
          for (const int64_t width : {1, 8, 20, 64}) {
            SCOPED_TRACE(std::to_string(keys) + " keys, width " + std::to_string(width));
            const Shape shape{2, 1, keys, kv_heads * group, kv_heads, width};
            expect_same(random_case(kind, shape, static_cast<uint64_t>(keys + width)));
          }
        }
      }
    }
  }
}

// Padding in front, an end before the last key, and nothing visible at all.
TEST(DecodeTest, Intervals) {
  Case c = random_case(Kind::kDagpam, {3, 1, 40, 4, 2, 8}, 3);
  c.visibility.begin = at::full({3, 1}, 7, at::kInt);
  c.visibility.end = at::full({3, 1}, 33, at::kInt);
  c.visibility.begin.mutable_data_ptr<int32_t>()[1] = 39;
  c.visibility.begin.mutable_data_ptr<int32_t>()[2] = 33;
  expect_same(c);
  EXPECT_EQ(solve(c, Path::kFast).y[2].abs().max().item<double>(), 0);
  expect_same(random_case(Kind::kDagpam, {2, 1, 0, 2, 2, 8}, 4));
}

// Keys and values as the front of a longer cache.
TEST(DecodeTest, PartOfACache) {
  Case c = random_case(Kind::kDagpam, {2, 1, 64, 4, 2, 8}, 5);
  for (at::Tensor* x : {&c.k, &c.v}) *x = x->narrow(1, 0, 23);
  expect_same(c);
}

TEST(DecodeTest, ThreadsDoNotChangeABit) {
  const Case c = as_type(random_case(Kind::kDagpam, {2, 1, 77, 6, 3, 16}, 6), at::kFloat);
  at::set_num_threads(1);
  const at::Tensor one = solve(c, Path::kFast).y;
  for (const int threads : {2, 3, 5, 16}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(bit_equal(solve(c, Path::kFast).y, one)) << threads;
  }
  at::set_num_threads(1);
}

}  // namespace
}  // namespace dagpam::attention::testing

#include "parallel/random.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "parallel/random_rows.h"

namespace dagpam::parallel {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers of Random123's test file for philox4x32-10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(DropoutKey, EveryPartMatters) {
  const uint64_t base = dropout_key(1, 2, 3, DropoutSite::kMlpOut);
  EXPECT_EQ(base, dropout_key(1, 2, 3, DropoutSite::kMlpOut));
  EXPECT_NE(base, dropout_key(2, 2, 3, DropoutSite::kMlpOut));
  EXPECT_NE(base, dropout_key(1, 3, 3, DropoutSite::kMlpOut));
  EXPECT_NE(base, dropout_key(1, 2 + (int64_t{1} << 32), 3, DropoutSite::kMlpOut));
  EXPECT_NE(base, dropout_key(1, 2, 4, DropoutSite::kMlpOut));
  EXPECT_NE(base, dropout_key(1, 2, -1, DropoutSite::kMlpOut));
  EXPECT_NE(base, dropout_key(1, 2, 3, DropoutSite::kAttentionOut));
}

TEST(DropoutThreshold, IsTheShareOfTwoToThe32) {
  EXPECT_EQ(dropout_threshold(0), 0u);
  EXPECT_EQ(dropout_threshold(0.5), 0x80000000u);
  EXPECT_EQ(dropout_threshold(0.1), 429496730u);
  EXPECT_EQ(dropout_threshold(1 - 1e-14), 0xffffffffu);
  EXPECT_THROW(dropout_threshold(1), c10::Error);
  EXPECT_THROW(dropout_threshold(-0.1), c10::Error);
  EXPECT_THROW(dropout_threshold(std::numeric_limits<double>::quiet_NaN()), c10::Error);
}

DropoutRow example_row() {
  return {.c1 = 7,
          .c2 = 0xfffffff0,
          .c3 = 3,
          .key = 0x0123456789abcdef,
          .threshold = dropout_threshold(0.3),
          .keep_scale = 1 / 0.7};
}

// Every backend against the definition, word by word, at all starts and at lengths around each
// edge.
void expect_defined_masks(const detail::RowKernels& kernels) {
  const DropoutRow row = example_row();
  for (const int64_t n : {0, 1, 3, 4, 5, 31, 32, 33, 255, 256, 257, 1000}) {
    for (const int64_t first : {0, 1, 2, 3, 4, 253, 1027}) {
      std::vector<float> scale(static_cast<size_t>(n) + 1, -1.0f);
      std::vector<double> wide(static_cast<size_t>(n) + 1, -1.0);
      kernels.fill_float(row, first, n, scale.data());
      kernels.fill_double(row, first, n, wide.data());
      for (int64_t j = 0; j < n; ++j) {
        const auto i = static_cast<uint32_t>(first + j);
        const bool kept =
            philox4x32({i / 4, row.c1, row.c2, row.c3}, row.key)[i % 4] >= row.threshold;
        ASSERT_EQ(scale[static_cast<size_t>(j)], kept ? static_cast<float>(1 / 0.7) : 0.0f);
        ASSERT_EQ(wide[static_cast<size_t>(j)], kept ? 1 / 0.7 : 0.0);
      }
      EXPECT_EQ(scale.back(), -1.0f) << "wrote past the end, n " << n << " first " << first;
      EXPECT_EQ(wide.back(), -1.0);
    }
  }
}

TEST(DropoutRows, PlainLoopFollowsTheDefinition) {
  expect_defined_masks(detail::plain_row_kernels());
}

TEST(DropoutRows, Avx2LoopFollowsTheDefinition) {
  if (detail::avx2_row_kernels() == nullptr) {
    GTEST_SKIP() << "this processor or build has no AVX2";
  }
  expect_defined_masks(*detail::avx2_row_kernels());
}

TEST(DropoutRows, AppliesWhatItFills) {
  const DropoutRow row = example_row();
  constexpr int64_t kN = 777;
  std::vector<float> x(kN), y(kN), plain(kN), scale(kN);
  for (size_t i = 0; i < kN; ++i) {
    x[i] = 0.37f * static_cast<float>(i) - 100;
  }
  fill_dropout_row(row, 0, kN, scale.data());
  apply_dropout_row(row, kN, x.data(), y.data());
  detail::plain_row_kernels().apply_float(row, kN, x.data(), plain.data());
  EXPECT_EQ(y, plain);
  for (size_t i = 0; i < kN; ++i) {
    EXPECT_EQ(y[i], x[i] * scale[i]);
    EXPECT_FALSE(y[i] == 0 && std::signbit(y[i]));
  }
  apply_dropout_row(row, kN, x.data(), x.data());  // in place
  EXPECT_EQ(x, y);
}

TEST(Dropout, MaskBelongsToGlobalSampleAndToken) {
  const uint64_t key = dropout_key(5, 10, 2, DropoutSite::kMlpOut);
  const at::Tensor x = at::ones({4, 9, 30});                   // [B, T, C]
  const at::Tensor samples = at::arange(100, 104, at::kLong);  // [B]
  const at::Tensor whole = dropout(x, samples, 0.25, key);
  // A rank that holds samples 102 and 103 alone draws the same mask.
  const at::Tensor part =
      dropout(x.narrow(0, 2, 2).contiguous(), samples.narrow(0, 2, 2).contiguous(), 0.25, key);
  EXPECT_TRUE(whole.narrow(0, 2, 2).equal(part));
  for (int64_t b = 0; b < 4; ++b) {
    for (int64_t t = 0; t < 9; ++t) {
      for (int64_t c = 0; c < 30; ++c) {
        const auto words = philox4x32({static_cast<uint32_t>(c / 4), static_cast<uint32_t>(t), 0,
                                       static_cast<uint32_t>(100 + b)},
                                      key);
        const bool kept = words[static_cast<size_t>(c % 4)] >= dropout_threshold(0.25);
        const auto y = whole[b][t][c].item<float>();
        ASSERT_EQ(y, kept ? static_cast<float>(1 / 0.75) : 0.0f);
      }
    }
  }
  EXPECT_FALSE(whole.equal(dropout(x, samples, 0.25, key + 1)));
}

TEST(Dropout, BackwardUsesTheSameMask) {
  at::Tensor x = at::ones({3, 5, 17}, at::kDouble).requires_grad_();
  const at::Tensor samples = at::arange(3, at::kLong);
  const at::Tensor y = dropout(x, samples, 0.4, 99);
  const at::Tensor dy = at::arange(3 * 5 * 17, at::kDouble).reshape({3, 5, 17});
  y.backward(dy);
  EXPECT_TRUE(x.grad().equal(dy * y.detach()));
  // An expanded gradient has stride 0.
  x.mutable_grad() = at::Tensor();
  dropout(x, samples, 0.4, 99).sum().backward();
  EXPECT_TRUE(x.grad().equal(y.detach()));
}

TEST(Dropout, AKeyMayLieInMemory) {
  const at::Tensor samples = at::arange(3, at::kLong), key = at::full({}, 99, at::kLong);
  std::array<at::Tensor, 2> x, y;
  for (size_t i = 0; i < 2; ++i) {
    x[i] = at::ones({3, 5, 17}, at::kFloat).requires_grad_();
    y[i] = dropout(x[i], samples, 0.4, i == 0 ? DropoutKey(99) : DropoutKey(7, key));
    y[i].sum().backward();
  }
  EXPECT_TRUE(y[0].equal(y[1]));
  EXPECT_TRUE(x[0].grad().equal(x[1].grad()));
  key.fill_(100);  // what is drawn later takes what lies there then
  EXPECT_TRUE(dropout(x[0].detach(), samples, 0.4, DropoutKey(7, key))
                  .equal(dropout(x[0].detach(), samples, 0.4, 100)));
  EXPECT_THROW(key_on_host(DropoutKey(7, key.to(at::kInt))), c10::Error);
}

TEST(Dropout, KeepsTheRightShare) {
  const at::Tensor x = at::ones({8, 128, 256});  // 2^18 elements
  for (const double p : {0.1, 0.5, 0.9}) {
    const at::Tensor y = dropout(x, at::arange(8, at::kLong), p, 7);
    const double dropped = (y == 0).sum().item<double>() / static_cast<double>(y.numel());
    const double deviation = std::sqrt(p * (1 - p) / static_cast<double>(y.numel()));
    EXPECT_NEAR(dropped, p, 5 * deviation);
    EXPECT_NEAR(y.mean(at::kDouble).item<double>(), 1, 5 * deviation / (1 - p));
  }
}

TEST(Dropout, EdgesAndRefusals) {
  const at::Tensor x = at::ones({2, 3, 4});
  const at::Tensor samples = at::arange(2, at::kLong);
  EXPECT_TRUE(dropout(x, samples, 0, 1).is_same(x));
  EXPECT_EQ(dropout(at::ones({2, 0, 4}), samples, 0.5, 1).numel(), 0);
  EXPECT_EQ(dropout(at::ones({2, 3, 0}), samples, 0.5, 1).numel(), 0);
  EXPECT_THROW(dropout(x, samples, 1, 1), c10::Error);
  EXPECT_THROW(dropout(x, samples, -0.5, 1), c10::Error);
  EXPECT_THROW(dropout(x, at::arange(3, at::kLong), 0.5, 1), c10::Error);
  EXPECT_THROW(dropout(x, at::arange(2, at::kInt), 0.5, 1), c10::Error);
  EXPECT_THROW(dropout(x.transpose(1, 2), samples, 0.5, 1), c10::Error);
  EXPECT_THROW(dropout(at::ones({2, 3}), samples, 0.5, 1), c10::Error);
  EXPECT_THROW(dropout(at::ones({2, 3, 4}, at::kLong), samples, 0.5, 1), c10::Error);
}

at::Tensor normals(const std::vector<int64_t>& shape, double deviation, uint64_t seed,
                   const std::string& name, at::ScalarType dtype = at::kFloat) {
  at::Tensor value = at::empty(shape, at::TensorOptions(dtype));
  initialise(value, {shape, -1, 0}, Init::normal(deviation), seed, name);
  return value;
}

TEST(Initialise, MomentsAreThoseOfANormal) {
  const at::Tensor z = normals({1 << 20}, 1, 3, "w", at::kDouble);
  const double n = static_cast<double>(z.numel());
  EXPECT_NEAR(z.mean().item<double>(), 0, 5 / std::sqrt(n));
  EXPECT_NEAR(z.square().mean().item<double>(), 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(z.pow(3).mean().item<double>(), 0, 5 * std::sqrt(15 / n));
  EXPECT_NEAR(z.pow(4).mean().item<double>(), 3, 5 * std::sqrt(96 / n));
  // Share below one and two deviations, and correlation of neighbours.
  EXPECT_NEAR((z.abs() < 1).sum().item<double>() / n, 0.682689492, 5 * std::sqrt(0.217 / n));
  EXPECT_NEAR((z.abs() < 2).sum().item<double>() / n, 0.954499736, 5 * std::sqrt(0.0434 / n));
  for (const int64_t lag : {1, 2, 3, 4}) {
    const int64_t rest = z.numel() - lag;
    const double product = (z.narrow(0, 0, rest) * z.narrow(0, lag, rest)).mean().item<double>();
    EXPECT_NEAR(product, 0, 5 / std::sqrt(n)) << "lag " << lag;
  }
}

TEST(Initialise, IsAFunctionOfSeedAndName) {
  EXPECT_TRUE(normals({5, 7}, 0.02, 1, "a").equal(normals({5, 7}, 0.02, 1, "a")));
  EXPECT_FALSE(normals({5, 7}, 0.02, 1, "a").equal(normals({5, 7}, 0.02, 2, "a")));
  EXPECT_FALSE(normals({5, 7}, 0.02, 1, "a").equal(normals({5, 7}, 0.02, 1, "b")));
  // float32 is the float64 value rounded.
  EXPECT_TRUE(normals({5, 7}, 0.02, 1, "a")
                  .equal(normals({5, 7}, 0.02, 1, "a", at::kDouble).to(at::kFloat)));
  EXPECT_NEAR(normals({100000}, 0.02, 1, "a").std().item<double>(), 0.02, 5 * 0.02 / 447);
}

TEST(Initialise, ShardsAreSlicesOfTheWhole) {
  const std::vector<int64_t> shape = {6, 10, 7};
  const at::Tensor whole = normals(shape, 1, 11, "w");
  for (int cut = 0; cut < 3; ++cut) {
    const int64_t extent = shape[static_cast<size_t>(cut)];
    for (int64_t offset = 0; offset < extent; offset += 3) {
      const int64_t rows = std::min<int64_t>(3, extent - offset);
      std::vector<int64_t> local = shape;
      local[static_cast<size_t>(cut)] = rows;
      const at::Tensor part = at::empty(local);
      initialise(part, {shape, cut, offset}, Init::normal(1), 11, "w");
      EXPECT_TRUE(part.equal(whole.narrow(cut, offset, rows))) << "cut " << cut << " at " << offset;
    }
  }
}

TEST(Initialise, PaddingIsZero) {
  for (const Init& init : {Init::normal(1), Init::constant(3)}) {
    const at::Tensor whole = at::empty({10, 4});
    initialise(whole, {{10, 4}, -1, 0}, init, 1, "vocabulary");
    const at::Tensor last = at::empty({3, 4});  // rows 9 to 11, of which 10 and 11 are padding
    initialise(last, {{10, 4}, 0, 9}, init, 1, "vocabulary");
    EXPECT_TRUE(last.narrow(0, 0, 1).equal(whole.narrow(0, 9, 1)));
    EXPECT_EQ(last.narrow(0, 1, 2).count_nonzero().item<int64_t>(), 0);
  }
}

TEST(Initialise, RefusesShardsThatDoNotFit) {
  const at::Tensor value = at::empty({3, 4});
  EXPECT_THROW(initialise(value, {{3, 5}, -1, 0}, Init::normal(1), 1, "w"), c10::Error);
  EXPECT_THROW(initialise(value, {{6, 5}, 0, 3}, Init::normal(1), 1, "w"), c10::Error);
  EXPECT_THROW(initialise(value, {{3, 4, 1}, -1, 0}, Init::normal(1), 1, "w"), c10::Error);
  EXPECT_THROW(initialise(value, {{6, 4}, 2, 0}, Init::normal(1), 1, "w"), c10::Error);
  EXPECT_THROW(initialise(value, {{6, 4}, 0, -1}, Init::normal(1), 1, "w"), c10::Error);
}

}  // namespace
}  // namespace dagpam::parallel

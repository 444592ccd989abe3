// The row kernels: exponentials against the C library, and every build that this processor runs
// against the portable one.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "attention/cpu_rows.h"

namespace dagpam::attention::cpu {
namespace {

std::vector<const RowKernels<float>*> runnable() {
  std::vector<const RowKernels<float>*> out{&portable::kFloatRows};
  const RowKernels<float>& chosen = row_kernels<float>();
  if (&chosen != out[0]) out.push_back(&chosen);
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      &chosen != &avx2::kFloatRows) {
    out.push_back(&avx2::kFloatRows);
  }
#endif
  return out;
}

// Every 64th float32 from -0 to -87.3.
TEST(RowsTest, ExpIsWithinTwoUnitsInTheLastPlace) {
  for (const RowKernels<float>* rows : runnable()) {
    std::vector<float> x, y;
    for (uint32_t bits = 0x80000000u; bits < std::bit_cast<uint32_t>(-87.3f); bits += 64) {
      x.push_back(std::bit_cast<float>(bits));
    }
    y.resize(x.size());
    rows->exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      const double unit = std::ldexp(1.0, std::ilogb(exact) - 23);
      worst = std::max(worst, std::abs(static_cast<double>(y[i]) - exact) / unit);
    }
    EXPECT_LE(worst, 2) << rows->name;
  }
}

TEST(RowsTest, ExpAtTheEdges) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x{0.0f, -0.0f, -100.0f, -infinity, NAN, 1.0f, 88.0f};
  for (const RowKernels<float>* rows : runnable()) {
    std::vector<float> y(x.size());
    rows->exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
    EXPECT_EQ(y[0], 1.0f) << rows->name;
    EXPECT_EQ(y[1], 1.0f) << rows->name;
    EXPECT_EQ(y[2], 0.0f) << rows->name;
    EXPECT_EQ(y[3], 0.0f) << rows->name;
    EXPECT_TRUE(std::isnan(y[4])) << rows->name;
    EXPECT_NEAR(y[5], 2.7182818f, 3e-7f) << rows->name;
    EXPECT_NEAR(y[6] / 1.6516363e38f, 1.0f, 3e-7f) << rows->name;
  }
}

// Two maps of 3 rows and 21 columns: all visible, columns 5 to 18, none.
struct Block {
  static constexpr int64_t kRows = 3, kCols = 21, kLd = 32;
  std::vector<int32_t> begin{0, 5, 0}, end{21, 18, 0};
  std::vector<float> plus, minus, da, keep, lse_plus, lse_minus, dot_plus, dot_minus;

  explicit Block(bool garbage) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (auto* x : {&plus, &minus, &da, &keep}) {
      x->assign(kRows * kLd, garbage ? 1e30f : 0.0f);
      for (int64_t i = 0; i < kRows * kLd; ++i) {
        const float drawn = x == &keep ? (random() % 4 == 0 ? 0.0f : 4.0f / 3) : 3 * normal(random);
        if (i % kLd < kCols) (*x)[static_cast<size_t>(i)] = drawn;
      }
    }
    for (auto* x : {&lse_plus, &lse_minus, &dot_plus, &dot_minus}) x->assign(kRows, -1.0f);
  }
  void weights(const RowKernels<float>& rows) {
    rows.weights({kRows, kCols, kLd, begin.data(), end.data(), plus.data(), minus.data(),
                  keep.data(), lse_plus.data(), lse_minus.data(), 1.7f, -0.6f});
  }
  void gradient(const RowKernels<float>& rows) {
    rows.gradient({kRows, kCols, kLd, begin.data(), end.data(), plus.data(), minus.data(),
                   da.data(), keep.data(), lse_plus.data(), lse_minus.data(), dot_plus.data(),
                   dot_minus.data(), 1.7f, -0.6f});
  }
};

float sum(const std::vector<float>& x, int64_t row, int64_t from, int64_t to) {
  float out = 0;
  for (int64_t j = from; j < to; ++j) out += x[static_cast<size_t>(row * Block::kLd + j)];
  return out;
}

TEST(RowsTest, WeightsSumToOnePlusDifferenceAndAreZeroElsewhere) {
  for (const RowKernels<float>* rows : runnable()) {
    Block block(/*garbage=*/true);
    block.keep.assign(block.keep.size(), 1.0f);
    block.weights(*rows);
    EXPECT_NEAR(sum(block.plus, 0, 0, 21), 1.1f, 1e-5f) << rows->name;
    EXPECT_NEAR(sum(block.plus, 1, 5, 18), 1.1f, 1e-5f) << rows->name;
    for (int64_t j = 0; j < Block::kCols; ++j) {
      if (j < 5 || j >= 18) {
        EXPECT_EQ(block.plus[static_cast<size_t>(Block::kLd + j)], 0.0f) << j;
      }
      EXPECT_EQ(block.plus[static_cast<size_t>(2 * Block::kLd + j)], 0.0f) << j;
    }
    EXPECT_EQ(block.lse_plus[2], 0.0f);
    EXPECT_EQ(block.lse_minus[2], 0.0f);
  }
}

TEST(RowsTest, EveryBuildAgreesWithThePortableOne) {
  Block expected(false);
  expected.weights(portable::kFloatRows);
  Block expected_gradient(false);
  expected_gradient.lse_plus = expected.lse_plus;
  expected_gradient.lse_minus = expected.lse_minus;
  expected_gradient.gradient(portable::kFloatRows);
  for (const RowKernels<float>* rows : runnable()) {
    Block forward(true), backward(true);
    forward.weights(*rows);
    backward.lse_plus = expected.lse_plus;
    backward.lse_minus = expected.lse_minus;
    backward.gradient(*rows);
    for (size_t i = 0; i < forward.plus.size(); ++i) {
      if (static_cast<int64_t>(i) % Block::kLd >= Block::kCols) continue;
      EXPECT_NEAR(forward.plus[i], expected.plus[i], 2e-6f) << rows->name << " " << i;
      EXPECT_NEAR(backward.plus[i], expected_gradient.plus[i], 1e-5f) << rows->name << " " << i;
      EXPECT_NEAR(backward.minus[i], expected_gradient.minus[i], 1e-5f) << rows->name << " " << i;
      EXPECT_NEAR(backward.da[i], forward.plus[i], 2e-6f) << "A is not the forward's, " << i;
    }
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(backward.dot_plus[i], expected_gradient.dot_plus[i], 1e-5f) << rows->name;
      EXPECT_NEAR(backward.dot_minus[i], expected_gradient.dot_minus[i], 1e-5f) << rows->name;
    }
  }
}

// Whole numbers, so that sums are exact in any order: 2 heads of width 19, 2 queries a head.
TEST(RowsTest, DotsAndMixAreSumsOfProducts) {
  constexpr int64_t kHeads = 2, kQueries = 2, kWidth = 19, kKeys = 7, kLd = 16;
  std::vector<float> keys(kKeys * kHeads * kWidth), queries(kHeads * kQueries * kWidth);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<float>(i * i % 13) - 6;
  for (size_t i = 0; i < queries.size(); ++i) queries[i] = static_cast<float>(i * i % 11) - 5;
  const KeyRows<float> rows{keys.data(), kKeys,  kHeads * kWidth, kHeads,
                            kWidth,      kWidth, kQueries,        kLd};
  for (const RowKernels<float>* kernels : runnable()) {
    std::vector<float> scores(kHeads * kQueries * kLd, 0.0f), y(queries.size(), 1.0f);
    kernels->dots(rows, queries.data(), 0.5f, scores.data());
    kernels->mix(rows, scores.data(), y.data());
    for (int64_t r = 0; r < kHeads * kQueries; ++r) {
      std::vector<float> expected(kWidth, 1.0f);
      for (int64_t j = 0; j < kKeys; ++j) {
        const auto at = static_cast<size_t>((j * kHeads + r / kQueries) * kWidth);
        float dot = 0;
        for (size_t i = 0; i < kWidth; ++i) {
          dot += queries[static_cast<size_t>(r * kWidth) + i] * keys[at + i];
        }
        EXPECT_EQ(scores[static_cast<size_t>(r * kLd + j)], dot / 2) << kernels->name;
        for (size_t i = 0; i < kWidth; ++i) expected[i] += dot / 2 * keys[at + i];
      }
      for (size_t i = 0; i < kWidth; ++i) {
        EXPECT_EQ(y[static_cast<size_t>(r * kWidth) + i], expected[i]) << kernels->name;
      }
    }
  }
}

}  // namespace
}  // namespace dagpam::attention::cpu

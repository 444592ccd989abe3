// The measures of an analysis by closed forms.
#include "trainer/analysis/collapse.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "trainer/analysis/map_statistics.h"

namespace dagpam::trainer {
namespace {

TEST(CollapseTest, OfTheVectorOfTheDefinition) {
  const at::Tensor x = at::tensor({1.0, 2.0, 3.0, 5.0, 8.0, 13.0}, at::kDouble).view({3, 2});
  const Collapse found = collapse_of(x);
  EXPECT_NEAR(found.ratio_1inf, 0.558247, 5e-7);
  EXPECT_NEAR(found.ratio_fro, 0.577350, 5e-7);
  EXPECT_NEAR(found.cosine, 0.997707, 5e-7);
  EXPECT_NEAR(collapse_of(x * -7).ratio_1inf, found.ratio_1inf, 1e-15);
}

TEST(CollapseTest, OfRowsThatAreOneIsZero) {
  const Collapse found = collapse_of(at::tensor({3.0, -1.0, 2.0}).expand({5, 3}));
  EXPECT_EQ(found.ratio_1inf, 0);
  EXPECT_EQ(found.ratio_fro, 0);
  EXPECT_NEAR(found.cosine, 1, 1e-15);
}

TEST(CollapseTest, OfOrthogonalRowsHasNoCosine) {
  const Collapse found = collapse_of(at::eye(4, at::kDouble) * 3);
  EXPECT_NEAR(found.cosine, 0, 1e-15);
  EXPECT_NEAR(found.ratio_fro, std::sqrt(3.0 / 4), 1e-15);  // 1 - 1/4 of each row's square is left
  EXPECT_NEAR(found.ratio_1inf, 1.5, 1e-15);                // 3/4 + 3 x 1/4 in each row and column
}

TEST(CollapseTest, OfZerosAndOfOneToken) {
  const Collapse zeros = collapse_of(at::zeros({3, 2}));
  EXPECT_EQ(zeros.ratio_1inf, 0);
  EXPECT_EQ(zeros.ratio_fro, 0);
  EXPECT_EQ(zeros.cosine, 0);
  EXPECT_TRUE(std::isnan(collapse_of(at::ones({1, 2})).cosine));
}

TEST(SpreadTest, IsMeanAndSampleDeviation) {
  const Spread found = spread_of({1, 2, 6});
  EXPECT_EQ(found.mean, 3);
  EXPECT_DOUBLE_EQ(found.deviation, std::sqrt((4.0 + 1 + 9) / 2));
  EXPECT_TRUE(std::isnan(spread_of({5}).deviation));
}

at::Tensor causal(int64_t tokens) {  // [1, 1, N, N]
  return at::ones({tokens, tokens}, at::kBool).tril().view({1, 1, tokens, tokens});
}

TEST(MapStatisticsTest, UniformWeightsHaveTheLargestEntropy) {
  MapSummary summary;
  summary.add(at::full({2, 3, 4, 8}, 0.125), at::ones({1, 1, 4, 8}, at::kBool), 0);
  const MapStatistics found = summary.statistics();
  EXPECT_NEAR(found.entropy, std::log(8.0), 1e-14);
  EXPECT_NEAR(found.entropy_uniform, std::log(8.0), 1e-14);
  EXPECT_EQ(found.row_sum_min, 1);
  EXPECT_EQ(found.row_sum_max, 1);
  EXPECT_EQ(found.negative_share, 0);
}

// (1 + 1/2) P+ - 1/4 P- of two maps by hand: each row sums to 1.25; the first row sees one key.
TEST(MapStatisticsTest, GeneralisedWeightsByHand) {
  const at::Tensor plus = at::tensor({1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.8, 0.2, 0.0}).view({3, 3});
  const at::Tensor minus = at::tensor({1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.2, 0.0, 0.8}).view({3, 3});
  const at::Tensor a = (plus * 1.5 - minus * 0.25).view({1, 1, 3, 3});
  MapSummary summary;
  summary.add(a, causal(3), 0);
  MapStatistics found = summary.statistics();
  EXPECT_NEAR(found.row_sum_mean, 1.25, 1e-15);
  EXPECT_NEAR(found.row_sum_min, 1.25, 1e-15);
  EXPECT_NEAR(found.row_sum_max, 1.25, 1e-15);
  EXPECT_NEAR(found.min, -0.2, 1e-15);
  EXPECT_NEAR(found.max, 1.25, 1e-15);
  EXPECT_DOUBLE_EQ(found.negative_share, 1.0 / 6);
  const auto entropy = [](std::vector<double> row) {  // of |A| / sum |A|
    double sum = 0, out = 0;
    for (const double x : row) sum += std::abs(x);
    for (const double x : row) out -= std::abs(x) / sum * std::log(std::abs(x) / sum);
    return out;
  };
  const double second = entropy({0.75, 0.5}), third = entropy({1.15, 0.3, -0.2});
  EXPECT_NEAR(found.entropy, (0 + second + third) / 3, 1e-14);
  EXPECT_NEAR(found.entropy_uniform, (std::log(2.0) + std::log(3.0)) / 3, 1e-14);

  MapSummary rest;  // the row of position 0 left out, and twice the same sequence
  rest.add(a, causal(3), 1);
  rest.add(a, causal(3), 1);
  found = rest.statistics();
  EXPECT_NEAR(found.max, 1.15, 1e-15);
  EXPECT_NEAR(found.entropy, (second + third) / 2, 1e-14);
  EXPECT_DOUBLE_EQ(found.negative_share, 1.0 / 5);
}

}  // namespace
}  // namespace dagpam::trainer

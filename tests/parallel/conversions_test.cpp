// What a GPU's threads do of many conversions, run by the host one after the other.
#include "parallel/conversions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "parallel/conversion_part.h"

namespace dagpam::parallel {
namespace {

template <class From, class To>
void converts(const std::vector<int64_t>& counts, size_t odd) {
  std::vector<std::vector<From>> from;
  std::vector<std::vector<To>> to, expected;
  for (const int64_t count : counts) {
    std::vector<From> in(static_cast<size_t>(count) + odd);
    std::vector<To> out(in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      rows::narrow(std::sin(static_cast<float>(i * i)) * 9, in[i]);
      rows::narrow(std::cos(static_cast<float>(i)), out[i]);
    }
    from.push_back(in);
    to.push_back(out);
    for (size_t i = odd; i < in.size(); ++i) {
      const float x = rows::widen(in[i]);
      rows::narrow(from.size() % 2 == 0 ? rows::widen(out[i]) + x : x, out[i]);
    }
    expected.push_back(out);
  }
  ConversionCall<From, To> call;
  int32_t blocks = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    ConversionPiece<From, To> piece;
    piece.from = from[i].data() + odd;
    piece.to = to[i].data() + odd;
    piece.count = counts[i];
    piece.add = i % 2 == 1;
    ASSERT_TRUE(add_conversion(call, piece, blocks));
  }
  constexpr int64_t kThreads = 8;
  for (int32_t block = 0; block < blocks; ++block) {
    for (int64_t t = 0; t < kThreads; ++t) {
      convert_part(call.pieces[conversion_of(call, block)], block, t, kThreads);
    }
  }
  for (size_t i = 0; i < to.size(); ++i) {
    for (size_t j = 0; j < to[i].size(); ++j) {
      EXPECT_EQ(rows::widen(to[i][j]), rows::widen(expected[i][j])) << i << ", " << j;
    }
  }
}

TEST(ConversionsTest, EveryElementIsConvertedOnce) {
  const std::vector<int64_t> counts{
      1, 7, 8, 768, kOfConversionBlock, kOfConversionBlock + 1, 24, 3 * kOfConversionBlock + 13};
  for (const size_t odd : {0, 1}) {
    converts<rows::Bf16, float>(counts, odd);
    converts<float, rows::Bf16>(counts, odd);
  }
}

TEST(ConversionsTest, ACallTakesSoMany) {
  ConversionCall<float, rows::Bf16> call;
  ConversionPiece<float, rows::Bf16> piece;
  piece.count = 3;
  int32_t blocks = 0;
  for (int i = 0; i < kMostConversions; ++i) EXPECT_TRUE(add_conversion(call, piece, blocks));
  EXPECT_FALSE(add_conversion(call, piece, blocks));
  EXPECT_EQ(blocks, kMostConversions);
}

}  // namespace
}  // namespace dagpam::parallel

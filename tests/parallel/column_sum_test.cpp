// What the threads of the column sum's kernel do, run by the host: every element once.
#include <gtest/gtest.h>

#include <vector>

#include "parallel/column_sum_part.h"

namespace dagpam::parallel {
namespace {

// Of small whole numbers, so that their sums are exact.
template <int kPack, class Real>
void adds_up(int64_t count, int64_t width, int64_t row_step) {
  SCOPED_TRACE(testing::Message() << count << " x " << width << " by packs of " << kPack);
  std::vector<rows::Pack<Real, kPack>> memory(static_cast<size_t>(count * row_step / kPack + 1));
  Real* const x = memory[0].x;
  std::vector<float> expected(static_cast<size_t>(width)), got = expected;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      const auto number = static_cast<float>((r * 7 + c * 3) % 11);
      rows::narrow(number, x[r * row_step + c]);
      expected[static_cast<size_t>(c)] += number;
    }
  }
  const ColumnSumProblem<Real> problem{x, count, width, row_step};
  const ColumnTiles tiles = column_tiles(count, width, kPack);
  for (int64_t block = 0; block < tiles.across * tiles.parts; ++block) {
    for (int thread = 0; thread < kTileLanes * kTileGroups; ++thread) {
      const TileThread own = tile_thread(tiles, block % tiles.across, block / tiles.across,
                                         thread % kTileLanes, thread / kTileLanes);
      float sums[kPack] = {};
      if (own.column < width) column_sum_part<kPack>(problem, own, sums);
      for (int i = 0; i < kPack && own.column < width; ++i) {
        got[static_cast<size_t>(own.column + i)] += sums[i];
      }
    }
  }
  EXPECT_EQ(got, expected);
}

TEST(ColumnSumTest, TakesEveryElementOnce) {
  for (const int64_t count : {0, 1, 9, 64, 300, 1000}) {
    adds_up<1, float>(count, 1, 1);
    adds_up<1, rows::Bf16>(count, 77, 79);
    adds_up<4, float>(count, 132, 136);
    adds_up<8, rows::Bf16>(count, 264, 264);
  }
}

TEST(ColumnSumTest, SharesLargeMatricesAmongManyBlocks) {
  const ColumnTiles tiles = column_tiles(16384, 768, 8);
  EXPECT_EQ(tiles.across, 3);
  EXPECT_EQ(tiles.parts, 256);
  EXPECT_EQ(column_tiles(16384, 1 << 20, 8).parts, 1);
}

}  // namespace
}  // namespace dagpam::parallel

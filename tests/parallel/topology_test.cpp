#include "parallel/topology.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dagpam::parallel {
namespace {

TEST(Topology, EveryGridUpTo24Ranks) {
  for (int world = 1; world <= 24; ++world) {
    for (int tp = 1; tp <= world + 1; ++tp) {
      if (world % tp != 0) {
        EXPECT_THROW(Topology(world, tp), c10::Error) << world << " in " << tp;
        continue;
      }
      const Topology grid(world, tp);
      ASSERT_EQ(grid.world(), world);
      ASSERT_EQ(grid.dp() * grid.tp(), world);
      for (int rank = 0; rank < world; ++rank) {
        ASSERT_EQ(grid.dp_index(rank), rank / tp);
        ASSERT_EQ(grid.tp_index(rank), rank % tp);
        ASSERT_EQ(grid.rank_at(grid.dp_index(rank), grid.tp_index(rank)), rank);
        const std::vector<int> dp = grid.dp_group(rank), shard = grid.tp_group(rank);
        ASSERT_EQ(dp.size(), static_cast<size_t>(grid.dp()));
        ASSERT_EQ(shard.size(), static_cast<size_t>(tp));
        ASSERT_EQ(dp[static_cast<size_t>(grid.dp_index(rank))], rank);
        ASSERT_EQ(shard[static_cast<size_t>(grid.tp_index(rank))], rank);
        for (const int other : dp) {  // a group is the same for all its members
          ASSERT_EQ(grid.dp_group(other), dp);
          ASSERT_EQ(grid.tp_index(other), grid.tp_index(rank));
        }
        for (const int other : shard) {
          ASSERT_EQ(grid.tp_group(other), shard);
          ASSERT_EQ(grid.dp_index(other), grid.dp_index(rank));
        }
      }
    }
  }
}

TEST(Topology, TensorParallelRanksAreNeighbours) {
  const Topology grid(8, 2);
  EXPECT_EQ(grid.tp_group(5), (std::vector<int>{4, 5}));
  EXPECT_EQ(grid.dp_group(5), (std::vector<int>{1, 3, 5, 7}));
}

TEST(Topology, RefusalsSayTheNumbers) {
  try {
    const Topology grid(6, 4);
    ADD_FAILURE() << "6 ranks in groups of 4";
  } catch (const c10::Error& error) {
    const std::string text = error.msg();
    EXPECT_NE(text.find("6 ranks cannot be cut into tensor-parallel groups of 4"),
              std::string::npos)
        << text;
  }
  EXPECT_THROW(Topology(0, 1), c10::Error);
  EXPECT_THROW(Topology(4, 0), c10::Error);
  EXPECT_THROW(Topology(4, 2).dp_index(4), c10::Error);
  EXPECT_THROW(Topology(4, 2).tp_index(-1), c10::Error);
  EXPECT_THROW(Topology(4, 2).rank_at(2, 0), c10::Error);
  EXPECT_THROW(Topology(4, 2).rank_at(0, 2), c10::Error);
}

}  // namespace
}  // namespace dagpam::parallel

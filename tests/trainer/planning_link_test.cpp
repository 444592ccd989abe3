// Seconds of collectives against their closed forms.
#include <gtest/gtest.h>

#include "configs/errors.h"
#include "tests/trainer/planning_fixtures.h"
#include "trainer/planning/link_time.h"

namespace dagpam::trainer::planning {
namespace {

constexpr int64_t kBytes = 80'000'000;

Calls call(Collective collective, Group group = Group::kDataParallel, int64_t bytes = kBytes) {
  return {group, collective, "", 1, bytes, false};
}

double seconds(Collective collective, const Placement& at, const configs::ClusterConfig& cluster,
               int64_t bytes = kBytes) {
  return seconds_of(call(collective, Group::kDataParallel, bytes), at, cluster);
}

TEST(LinkTimeTest, OneRankTalksToNobody) {
  EXPECT_EQ(seconds(Collective::kAllReduce, {1, 1}, round_cluster()), 0);
}

TEST(LinkTimeTest, RingsOfOneNode) {
  const auto cluster = round_cluster();
  // 80 MB at 10 GB/s are 8 ms once; four ranks move 3/4 of it, an all-reduce twice.
  EXPECT_NEAR(seconds(Collective::kAllReduce, {4, 4}, cluster), 2 * 0.75 * 8e-3, 1e-12);
  EXPECT_NEAR(seconds(Collective::kReduceScatter, {4, 4}, cluster), 0.75 * 8e-3, 1e-12);
  EXPECT_NEAR(seconds(Collective::kAllGather, {2, 2}, cluster), 0.5 * 8e-3, 1e-12);
}

TEST(LinkTimeTest, AcrossNodesTheSlowerLinkCounts) {
  const auto cluster = round_cluster();
  // 4 NICs of 1 GB/s are slower than 10 GB/s within: 2 * 7/8 * 80 MB / 4 GB/s.
  EXPECT_NEAR(seconds(Collective::kAllReduce, {8, 4}, cluster), 2 * 0.875 * 20e-3, 1e-12);
  // One rank a node has one NIC.
  EXPECT_NEAR(seconds(Collective::kAllGather, {2, 1}, cluster), 0.5 * 80e-3, 1e-12);
  auto fast = cluster;
  fast.mutable_network()->set_bandwidth_gbs(100);
  fast.mutable_network()->set_all_reduce_gbs(100);
  EXPECT_NEAR(seconds(Collective::kAllReduce, {8, 4}, fast), 2 * 0.875 * 8e-3, 1e-12);
}

TEST(LinkTimeTest, LatencyIsThatOfTheShorterWay) {
  auto cluster = round_cluster();
  cluster.mutable_node_link()->set_hop_us(1);
  cluster.mutable_node_link()->set_call_us(10);
  cluster.mutable_network()->set_hop_us(100);
  cluster.mutable_network()->set_call_us(20);
  const auto wait = [&](Collective collective, const Placement& at) {
    return 1e6 * seconds(collective, at, cluster, 0);
  };
  EXPECT_NEAR(wait(Collective::kReduceScatter, {4, 4}), 10 + 3, 1e-9);
  EXPECT_NEAR(wait(Collective::kAllReduce, {2, 2}), 10 + 2, 1e-9);
  // A tree: 2 log2(4) hops where a ring has 2 x 3; over 8 nodes 2 x 3 of the network's.
  EXPECT_NEAR(wait(Collective::kAllReduce, {4, 4}), 10 + 4, 1e-9);
  EXPECT_NEAR(wait(Collective::kAllReduce, {32, 4}), 20 + 2 * (2 + 300), 1e-9);
  // Gathers go around: 7 steps between nodes, 24 within.
  EXPECT_NEAR(wait(Collective::kAllGather, {32, 4}), 20 + 700 + 24, 1e-9);
}

TEST(LinkTimeTest, BucketsHaveARateOfTheirOwn) {
  auto cluster = round_cluster();
  cluster.mutable_node_link()->set_bucket_gbs(40);
  Calls bucket = call(Collective::kAllReduce);
  bucket.bucket = true;
  EXPECT_NEAR(seconds_of(bucket, {4, 4}, cluster),
              seconds(Collective::kAllReduce, {4, 4}, cluster) / 4, 1e-12);
}

TEST(LinkTimeTest, RanksSitAsTheGridPutsThem) {
  const Placement tp = placement_of(Group::kTensorParallel, 32, 4, 8);
  EXPECT_EQ(tp.ranks, 4);
  EXPECT_EQ(tp.nodes(), 1);
  const Placement dp = placement_of(Group::kDataParallel, 32, 4, 8);
  EXPECT_EQ(dp.ranks, 8);
  EXPECT_EQ(dp.on_node, 2);
  EXPECT_EQ(dp.nodes(), 4);
  EXPECT_EQ(placement_of(Group::kDataParallel, 4, 1, 8).nodes(), 1);
  EXPECT_EQ(placement_of(Group::kTensorParallel, 32, 16, 8).nodes(), 2);
  EXPECT_EQ(placement_of(Group::kDataParallel, 32, 16, 8).on_node, 1);
}

TEST(LinkTimeTest, ALinkThatIsMissingIsNamed) {
  auto cluster = round_cluster();
  cluster.clear_network();
  EXPECT_GT(seconds(Collective::kAllReduce, {4, 4}, cluster), 0);
  EXPECT_THROW(seconds(Collective::kAllReduce, {8, 4}, cluster), ConfigError);
}

}  // namespace
}  // namespace dagpam::trainer::planning

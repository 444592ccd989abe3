#include "trainer/replica_check.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "parallel/grid.h"
#include "tests/data/scratch_folder.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {
namespace {

using Digests = std::vector<std::vector<uint64_t>>;

TEST(FindStrayingTest, AMajorityNamesTheOddOne) {
  const parallel::Topology topology(4, 1);
  EXPECT_TRUE(find_straying({{1, 2}, {1, 2}, {1, 2}, {1, 2}}, {false, false}, topology).empty());
  const auto found = find_straying({{1, 2}, {1, 2}, {1, 9}, {1, 2}}, {false, false}, topology);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].parameter, 1u);
  EXPECT_EQ(found[0].odd, std::vector<int>{2});
  EXPECT_TRUE(found[0].suspects.empty());
}

TEST(FindStrayingTest, WithoutAMajorityAllAreSuspect) {
  const auto two = find_straying({{1}, {2}}, {false}, parallel::Topology(2, 1));
  ASSERT_EQ(two.size(), 1u);
  EXPECT_TRUE(two[0].odd.empty());
  EXPECT_EQ(two[0].suspects, (std::vector<int>{0, 1}));
  const auto four = find_straying({{1}, {2}, {1}, {2}}, {false}, parallel::Topology(4, 1));
  EXPECT_EQ(four.at(0).suspects, (std::vector<int>{0, 1, 2, 3}));
}

// Ranks 0, 2 and 4 hold one part of what is cut, 1, 3 and 5 the other; all hold the rest.
TEST(FindStrayingTest, PartsAreComparedOverCopiesAndTheRestOverAll) {
  const parallel::Topology topology(6, 2);
  const Digests good{{1, 5}, {2, 5}, {1, 5}, {2, 5}, {1, 5}, {2, 5}};
  EXPECT_TRUE(find_straying(good, {true, false}, topology).empty());
  EXPECT_EQ(find_straying(good, {false, false}, topology).size(), 1u);
  Digests bad = good;
  bad[3][0] = 1;
  bad[4][1] = 6;
  const auto found = find_straying(bad, {true, false}, topology);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].odd, std::vector<int>{3});
  EXPECT_EQ(found[1].odd, std::vector<int>{4});
}

// Every rank hears of one flipped bit on one rank, in a parameter that is cut and in one that is
// not.
class FlippedBitTest : public testing::TestWithParam<const char*> {};

TEST_P(FlippedBitTest, IsFoundAndTheRankNamed) {
  const configs::RunConfig config = configs::with_defaults(
      configs::load({}, {"model.layers=1", "model.width=16", "model.heads=2", "model.context=8",
                         "model.vocab=11", "attention.kind=DAGPAM"}));
  std::vector<std::string> heard(6);
  parallel::run_ranks_as_threads(6, [&](parallel::Communicator& world) {
    const parallel::Grid grid = parallel::make_grid(world, 2);
    const TransformerLm model(config.model(), config.attention(), TensorParallel{*grid.tp});
    const auto& parameters = model.parameters();
    parameters.initialise(7);
    check_replicas(parameters.all(), grid.topology, world, 3);
    if (world.rank() == 5) {
      auto* bits = static_cast<uint32_t*>(parameters.find(GetParam())->value.data_ptr());
      bits[3] ^= 1u;  // the last bit of one float
    }
    heard[static_cast<size_t>(world.rank())] = data::message_of<CorruptionError>(
        [&] { check_replicas(parameters.all(), grid.topology, world, 4); });
  });
  for (const std::string& message : heard) {
    data::expect_message(message, {"step 4", GetParam(), "rank 5 is not", "checkpoint"});
  }
}

INSTANTIATE_TEST_SUITE_P(Parameters, FlippedBitTest,
                         testing::Values("layers.0.attention_norm.weight",
                                         "layers.0.mlp.up.weight"),
                         [](const auto& test) {
                           return std::string(test.param).find("norm") != std::string::npos
                                      ? "OnAll"
                                      : "CutByTensor";
                         });

}  // namespace
}  // namespace dagpam::trainer

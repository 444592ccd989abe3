// What ranks tell each other arrives everywhere, one exchange later.
#include "trainer/agreement.h"

#include <gtest/gtest.h>

namespace dagpam::trainer {
namespace {

TEST(Agreement, VotesAreKnownToAllOneExchangeLater) {
  for (const int size : {1, 2, 3}) {
    parallel::run_ranks_as_threads(size, [&](parallel::Communicator& world) {
      Agreement agreement(world);
      for (int round = 0; round < 5; ++round) {
        agreement.bring(Vote::kSignal, round == 1 && world.rank() == 0);
        agreement.bring(Vote::kShardWritten, round == 2);
        agreement.exchange();
        EXPECT_EQ(agreement.count(Vote::kSignal), round == 2 ? 1 : 0) << round;
        EXPECT_EQ(agreement.count(Vote::kShardWritten), round == 3 ? size : 0) << round;
        EXPECT_EQ(agreement.count(Vote::kStopFile), 0);
      }
      agreement.settle();
    });
  }
}

}  // namespace
}  // namespace dagpam::trainer

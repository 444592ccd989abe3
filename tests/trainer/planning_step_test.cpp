// The timeline of a step in cases whose answer is plain.
#include <gtest/gtest.h>

#include "trainer/planning/step_simulation.h"

namespace dagpam::trainer::planning {
namespace {

// Three stages, forward 1 s each, backward 2 s each.
StepTimeline three_stages() {
  StepTimeline t;
  t.stages.assign(3, {1, 2, 0, 0});
  t.update = 0.5;
  return t;
}

TEST(StepTest, ComputingAloneIsASum) {
  StepTimeline t = three_stages();
  t.micro_batches = 4;
  t.closing_talk = 0.25;
  const StepResult result = simulate(t);
  EXPECT_DOUBLE_EQ(result.compute, 36);
  EXPECT_DOUBLE_EQ(result.total, 36 + 0.25 + 0.5);
}

TEST(StepTest, TalkWithinCopiesIsNeverHidden) {
  StepTimeline t = three_stages();
  t.stages[1].forward_talk = 0.1;
  t.stages[1].backward_talk = 0.2;
  t.micro_batches = 2;
  const StepResult result = simulate(t);
  EXPECT_DOUBLE_EQ(result.tensor_talk, 0.6);
  EXPECT_DOUBLE_EQ(result.total, 18 + 0.6 + 0.5);
}

TEST(StepTest, ReductionsHideBesideBackward) {
  StepTimeline t = three_stages();
  // Reached after 2 and after 6 s of backward: the first ends at 5, the second at 6 + 1.
  t.buckets = {{2, 3, 0}, {0, 1, 0}};
  const StepResult result = simulate(t);
  EXPECT_DOUBLE_EQ(result.waited_reduce, 1);
  EXPECT_DOUBLE_EQ(result.hidden, 3);
  EXPECT_DOUBLE_EQ(result.total, 9 + 1 + 0.5);
}

TEST(StepTest, OneReductionWaitsForTheOneBefore) {
  StepTimeline t = three_stages();
  t.buckets = {{2, 10, 0}, {1, 1, 0}};  // from 2 to 12, then to 13; backward ends at 6
  EXPECT_DOUBLE_EQ(simulate(t).waited_reduce, 7);
}

TEST(StepTest, WithoutOverlapAllIsWaitedFor) {
  StepTimeline t = three_stages();
  t.overlap = false;
  t.buckets = {{2, 3, 0.5}, {0, 1, 0.25}};
  const StepResult result = simulate(t);
  EXPECT_DOUBLE_EQ(result.waited_reduce, 4);
  EXPECT_DOUBLE_EQ(result.waited_gather, 0.75);
  EXPECT_DOUBLE_EQ(result.hidden, 0);
  EXPECT_DOUBLE_EQ(result.total, 9 + 4 + 0.75 + 0.5);
}

TEST(StepTest, AStageWaitsForItsOwnWeights) {
  StepTimeline t = three_stages();
  // Gathered from the last bucket on: stage 0's after 0.5 s, stage 2's after 4.5, needed at 2.5.
  t.buckets = {{2, 0, 4}, {0, 0, 0.5}};
  const StepResult result = simulate(t);
  EXPECT_DOUBLE_EQ(result.waited_gather, 0.5 + 2);
  EXPECT_DOUBLE_EQ(result.hidden, 2);
  EXPECT_DOUBLE_EQ(result.total, 9 + 2.5 + 0.5);
}

TEST(StepTest, HiddenTalkMayCostComputing) {
  StepTimeline t = three_stages();
  t.buckets = {{2, 3, 0}};
  t.overlap_loss = 0.5;
  const StepResult result = simulate(t);
  EXPECT_DOUBLE_EQ(result.slowed, 1.5);
  EXPECT_DOUBLE_EQ(result.total, 9 + 1.5 + 0.5);
}

TEST(StepTest, OnlyTheLastMicroBatchIsReduced) {
  StepTimeline t = three_stages();
  t.micro_batches = 8;
  t.buckets = {{0, 1, 0}};
  EXPECT_DOUBLE_EQ(simulate(t).total, 8 * 9 + 1 + 0.5);
}

}  // namespace
}  // namespace dagpam::trainer::planning

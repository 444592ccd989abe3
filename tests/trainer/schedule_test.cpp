#include "trainer/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dagpam::trainer {
namespace {

using configs::ScheduleConfig;

ScheduleConfig config(ScheduleConfig::Kind kind) {
  ScheduleConfig c;
  c.set_kind(kind);
  c.set_warmup_steps(9);
  c.set_decay_steps(109);
  c.set_final_ratio(0.1);
  c.set_decay_fraction(0.2);
  return c;
}

TEST(ScheduleTest, WarmUpIsLinearFromTheFirstStep) {
  for (const auto kind : {ScheduleConfig::COSINE, ScheduleConfig::LINEAR, ScheduleConfig::CONSTANT,
                          ScheduleConfig::INV_SQRT, ScheduleConfig::WSD}) {
    const Schedule schedule(config(kind), 2.0);
    for (int64_t s = 0; s < 9; ++s) {
      EXPECT_DOUBLE_EQ(schedule.rate(s), 2.0 * static_cast<double>(s + 1) / 10) << s;
    }
    EXPECT_DOUBLE_EQ(schedule.rate(9), 2.0);
  }
}

TEST(ScheduleTest, CosineIsHalfwayInTheMiddleAndFinalAtTheEnd) {
  const Schedule schedule(config(ScheduleConfig::COSINE), 2.0);
  EXPECT_NEAR(schedule.rate(59), (2.0 + 0.2) / 2, 1e-15);
  EXPECT_NEAR(schedule.rate(34), 0.2 + 1.8 * 0.5 * (1 + std::sqrt(0.5)), 1e-15);
  EXPECT_NEAR(schedule.rate(109), 0.2, 1e-15);
  EXPECT_NEAR(schedule.rate(1000), 0.2, 1e-15);
}

TEST(ScheduleTest, LinearFallsEvenly) {
  const Schedule schedule(config(ScheduleConfig::LINEAR), 2.0);
  EXPECT_NEAR(schedule.rate(34), 2.0 - 1.8 * 0.25, 1e-15);
  EXPECT_NEAR(schedule.rate(109), 0.2, 1e-15);
}

TEST(ScheduleTest, ConstantAndInverseSquareRoot) {
  EXPECT_DOUBLE_EQ(Schedule(config(ScheduleConfig::CONSTANT), 2.0).rate(5000), 2.0);
  EXPECT_DOUBLE_EQ(Schedule(config(ScheduleConfig::INV_SQRT), 2.0).rate(39), 1.0);
}

TEST(ScheduleTest, WsdStaysThenDecaysInItsLastFifth) {
  const Schedule schedule(config(ScheduleConfig::WSD), 2.0);
  EXPECT_DOUBLE_EQ(schedule.rate(87), 2.0);
  EXPECT_NEAR(schedule.rate(98), 2.0 - 1.8 * (98 - 87.2) / 21.8, 1e-12);
  EXPECT_NEAR(schedule.rate(109), 0.2, 1e-15);
}

TEST(ScheduleTest, WarmUpThatFillsTheRunEndsAtTheFinalRate) {
  ScheduleConfig c = config(ScheduleConfig::COSINE);
  c.set_warmup_steps(109);
  EXPECT_NEAR(Schedule(c, 2.0).rate(109), 0.2, 1e-15);
}

}  // namespace
}  // namespace dagpam::trainer

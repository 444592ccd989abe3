// Which steps are bad: closed forms, on one rank and on several.
#include "trainer/step_guard.h"

#include <ATen/ops/scalar_tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "configs/errors.h"
#include "trainer/bad_step_policy.h"

namespace dagpam::trainer {
namespace {

using configs::BadStepConfig;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

BadStepConfig config_of(BadStepConfig::Policy policy, double spike_z = 0, int64_t window = 16) {
  BadStepConfig config;
  config.set_policy(policy);
  config.set_spike_z(spike_z);
  config.set_window(window);
  return config;
}

bool judge(StepGuard& guard, int64_t step, float loss, float norm) {
  const at::Tensor verdict =
      guard.judge(step, at::scalar_tensor(loss, at::kFloat), at::scalar_tensor(norm, at::kFloat));
  return verdict.item<float>() == 1;
}

TEST(StepGuard, ANormThatIsNotFiniteIsBadAndSoIsAllThatFollows) {
  for (const float norm : {kNan, kInfinity, -kInfinity}) {
    const auto world = parallel::make_self_communicator();
    StepGuard guard(config_of(BadStepConfig::ABORT), *world);
    EXPECT_FALSE(judge(guard, 0, 1, 1));
    EXPECT_EQ(guard.first_bad(), -1);
    EXPECT_TRUE(judge(guard, 1, 1, norm));
    EXPECT_TRUE(judge(guard, 2, 1, 1));
    EXPECT_EQ(guard.first_bad(), 1);
    EXPECT_EQ(guard.skipped_steps(), 2);
    EXPECT_NE(guard.why().find("not finite"), std::string::npos);
    guard.restore(guard.save());
    EXPECT_FALSE(judge(guard, 3, 1, 1));
    EXPECT_EQ(guard.skipped_steps(), 2);
  }
}

TEST(StepGuard, SkippingGoesOnAfterABadStep) {
  const auto world = parallel::make_self_communicator();
  StepGuard guard(config_of(BadStepConfig::SKIP), *world);
  EXPECT_TRUE(judge(guard, 0, 1, kNan));
  EXPECT_FALSE(judge(guard, 1, 1, 1));
  EXPECT_TRUE(judge(guard, 2, 1, kInfinity));
  EXPECT_EQ(guard.first_bad(), 0);
  guard.forget();
  EXPECT_EQ(guard.first_bad(), -1);
  EXPECT_EQ(guard.skipped_steps(), 2);
}

// Losses 1 and 3 in turn: mean 2, deviation 1. With z 4 a loss up to 6 is good.
TEST(StepGuard, ASpikeIsMeasuredInDeviationsOfTheWindow) {
  for (const bool of_norm : {false, true}) {
    const auto world = parallel::make_self_communicator();
    StepGuard guard(config_of(BadStepConfig::SKIP, 4), *world);
    const auto step = [&](int64_t at, float x) {
      return of_norm ? judge(guard, at, 1, x) : judge(guard, at, x, 1);
    };
    EXPECT_FALSE(step(0, 1000)) << "too few values to judge by";
    for (int64_t i = 0; i < 16; ++i) EXPECT_FALSE(step(i, i % 2 == 0 ? 1 : 3));
    EXPECT_TRUE(step(16, 6.01F));
    EXPECT_NE(guard.why().find("jumped"), std::string::npos);
    EXPECT_FALSE(step(17, -1000)) << "a fall is no spike";
  }
}

TEST(StepGuard, ABadValueDoesNotEnterTheWindow) {
  const auto world = parallel::make_self_communicator();
  StepGuard guard(config_of(BadStepConfig::SKIP, 4), *world);
  for (int64_t i = 0; i < 16; ++i) EXPECT_FALSE(judge(guard, i, i % 2 == 0 ? 1 : 3, 1));
  for (int64_t i = 16; i < 48; ++i) EXPECT_TRUE(judge(guard, i, i % 3 == 0 ? kNan : 7, 1));
  EXPECT_FALSE(judge(guard, 48, 6, 1));
}

TEST(StepGuard, TheWindowTravels) {
  const auto world = parallel::make_self_communicator();
  const BadStepConfig config = config_of(BadStepConfig::SKIP, 3, 8);
  StepGuard whole(config, *world), resumed(config, *world);
  for (int64_t i = 0; i < 11; ++i) judge(whole, i, std::sin(static_cast<float>(i)), 1);
  resumed.restore(whole.save());
  for (int64_t i = 11; i < 40; ++i) {
    const float loss = std::sin(static_cast<float>(i)) * (i % 5 == 0 ? 9 : 1);
    EXPECT_EQ(judge(whole, i, loss, 1), judge(resumed, i, loss, 1)) << i;
  }
  EXPECT_GT(whole.skipped_steps(), 0);
  EXPECT_EQ(whole.save().SerializeAsString(), resumed.save().SerializeAsString());
}

TEST(StepGuard, ALossThatJumpsOnOneRankIsBadOnAll) {
  parallel::run_ranks_as_threads(3, [](parallel::Communicator& world) {
    StepGuard guard(config_of(BadStepConfig::ABORT, 4), world);
    for (int64_t i = 0; i < 16; ++i) EXPECT_FALSE(judge(guard, i, i % 2 == 0 ? 1 : 3, 1));
    EXPECT_TRUE(judge(guard, 16, world.rank() == 1 ? 50 : 1, 1));
    EXPECT_EQ(guard.first_bad(), 16);
  });
}

std::string message_of(BadStepPolicy& policy) {
  try {
    policy.look();
    return "";
  } catch (const NonFiniteError& error) {
    return error.what();
  }
}

TEST(BadStepPolicy, AbortNamesTheStep) {
  const auto world = parallel::make_self_communicator();
  const BadStepConfig config = config_of(BadStepConfig::ABORT);
  StepGuard guard(config, *world);
  BadStepPolicy policy(config, guard);
  judge(guard, 40, 1, 1);
  EXPECT_EQ(policy.look(), BadStepPolicy::Verdict::kGoOn);
  judge(guard, 41, 1, kNan);
  EXPECT_EQ(message_of(policy).find("step 42: "), 0U) << message_of(policy);
}

TEST(BadStepPolicy, SkippingEndsWithItsBudgetWhichSpansResumes) {
  const auto world = parallel::make_self_communicator();
  BadStepConfig config = config_of(BadStepConfig::SKIP);
  config.set_budget(3);
  StepGuard before(config, *world), guard(config, *world);
  judge(before, 0, 1, kNan);
  judge(before, 1, 1, kNan);
  guard.restore(before.save());
  BadStepPolicy policy(config, guard);
  judge(guard, 2, 1, kNan);
  EXPECT_EQ(policy.look(), BadStepPolicy::Verdict::kGoOn);
  judge(guard, 3, 1, kNan);
  EXPECT_NE(message_of(policy).find("4 bad steps are more than"), std::string::npos);
}

TEST(BadStepPolicy, RollbacksEndWithTheirBudget) {
  const auto world = parallel::make_self_communicator();
  BadStepConfig config = config_of(BadStepConfig::ROLLBACK);
  config.set_budget(2);
  StepGuard guard(config, *world);
  BadStepPolicy policy(config, guard);
  const auto saved = guard.save();
  for (int i = 0; i < 2; ++i) {
    judge(guard, i, 1, kNan);
    EXPECT_EQ(policy.look(), BadStepPolicy::Verdict::kRollBack);
    guard.restore(saved);
    guard.count_rollback();
    EXPECT_EQ(policy.look(), BadStepPolicy::Verdict::kGoOn);
  }
  judge(guard, 9, 1, kNan);
  EXPECT_NE(message_of(policy).find("rollbacks is used up"), std::string::npos);
}

}  // namespace
}  // namespace dagpam::trainer

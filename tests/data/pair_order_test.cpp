#include "data/pair_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "configs/errors.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

std::vector<PairLength> random_lengths(size_t count, int32_t longest, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<PairLength> lengths;
  for (size_t i = 0; i < count; ++i) {
    const auto a = static_cast<int32_t>(random() % static_cast<unsigned>(longest)) + 1;
    const auto b = static_cast<int32_t>(random() % static_cast<unsigned>(longest)) + 1;
    lengths.push_back({std::max(a, b), std::min(a, b)});
  }
  return lengths;
}

// A step with pairs of its own.
struct Kept {
  int64_t epoch, first_sample;
  std::vector<int64_t> pairs;
  bool operator==(const Kept&) const = default;
};

Kept keep(const PairOrder::Step& step) {
  return {step.epoch, step.first_sample, {step.pairs.begin(), step.pairs.end()}};
}

std::vector<Kept> steps_of_epochs(PairOrder& order, int64_t epochs) {
  std::vector<Kept> steps;
  while (order.next_sample() < epochs * order.pairs()) steps.push_back(keep(order.next()));
  return steps;
}

TEST(PairOrderTest, CutByTokens) {
  const std::vector<int64_t> lengths{2, 3, 3, 9, 4, 20, 1};
  const std::vector<int64_t> order{0, 1, 2, 3, 4, 5, 6};
  const auto longest = [&](int64_t i) { return lengths[static_cast<size_t>(i)]; };
  // 2 3 3 | 9 | 4 | 20 (longer than allowed, alone) | 1
  EXPECT_EQ(cut_by_tokens(order, 10, longest), (std::vector<int64_t>{3, 4, 5, 6, 7}));
  EXPECT_EQ(cut_by_tokens(order, 1000, longest), (std::vector<int64_t>{7}));
  EXPECT_TRUE(cut_by_tokens({}, 10, longest).empty());
}

TEST(PairOrderTest, EveryPairOnceAnEpochAndNeverMoreTokensThanAllowed) {
  for (const size_t count : {size_t{1}, size_t{2}, size_t{97}, size_t{1000}}) {
    for (const int64_t pool : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{300}, int64_t{5000}}) {
      const auto lengths = random_lengths(count, 40, 3);
      PairOrder order({5, 64, pool}, "data", lengths);
      int64_t sample = 0;
      for (int64_t epoch = 0; epoch < 3; ++epoch) {
        std::set<int64_t> seen;
        int64_t batches = 0;
        while (std::ssize(seen) < order.pairs()) {
          const PairOrder::Step step = order.next();
          EXPECT_EQ(step.epoch, epoch);
          EXPECT_EQ(step.first_sample, sample);
          sample += std::ssize(step.pairs);
          EXPECT_EQ(order.next_sample(), sample);
          int64_t longest = 0;
          for (const int64_t pair : step.pairs) {
            EXPECT_TRUE(seen.insert(pair).second) << pair;
            longest = std::max<int64_t>(longest, lengths[static_cast<size_t>(pair)].longer);
          }
          EXPECT_LE(longest * std::ssize(step.pairs), 64);
          EXPECT_GE(std::ssize(step.pairs), 1);
          ++batches;
        }
        EXPECT_EQ(std::ssize(seen), static_cast<int64_t>(count));
        EXPECT_EQ(batches, order.batches_of_epoch());
      }
    }
  }
}

TEST(PairOrderTest, BatchesHoldPairsOfAboutOneLength) {
  const auto lengths = random_lengths(10'000, 60, 11);
  PairOrder order({5, 2048, 0}, "data", lengths);
  int64_t cells = 0, tokens = 0;
  for (const Kept& step : steps_of_epochs(order, 1)) {
    int64_t longest = 0;
    for (const int64_t pair : step.pairs) {
      const int64_t longer = lengths[static_cast<size_t>(pair)].longer;
      tokens += longer;
      longest = std::max(longest, longer);
    }
    cells += longest * std::ssize(step.pairs);
    EXPECT_GT(longest * std::ssize(step.pairs), 800);  // no step of a rest
  }
  // Without sorting, batches of 34 rows and more would be filled to about two thirds.
  EXPECT_GT(static_cast<double>(tokens), 0.97 * static_cast<double>(cells));
}

TEST(PairOrderTest, DependsOnSeedDataAndEpochAlone) {
  const auto lengths = random_lengths(500, 30, 1);
  const auto steps = [&](uint64_t seed, const std::string& digest) {
    PairOrder order({seed, 128, 100}, digest, lengths);
    return steps_of_epochs(order, 2);
  };
  const std::vector<Kept> first = steps(1, "a");
  EXPECT_EQ(steps(1, "a"), first);
  EXPECT_NE(steps(2, "a"), first);
  EXPECT_NE(steps(1, "b"), first);
  // The second epoch is another order, with other neighbours.
  std::set<std::vector<int64_t>> batches;
  for (const Kept& step : first) EXPECT_TRUE(batches.insert(step.pairs).second);
}

// Long and short sentences alternate: lengths do not grow or fall along an epoch.
TEST(PairOrderTest, LengthsAreMixedAlongAnEpoch) {
  const auto lengths = random_lengths(5'000, 50, 2);
  PairOrder order({1, 256, 0}, "a", lengths);
  std::vector<double> lengths_of_steps;
  for (const Kept& step : steps_of_epochs(order, 1)) {
    lengths_of_steps.push_back(lengths[static_cast<size_t>(step.pairs.back())].longer);
  }
  int64_t rises = 0;
  for (size_t i = 1; i < lengths_of_steps.size(); ++i) {
    rises += lengths_of_steps[i] > lengths_of_steps[i - 1] ? 1 : 0;
  }
  const double share = static_cast<double>(rises) / static_cast<double>(lengths_of_steps.size());
  EXPECT_GT(share, 0.35);
  EXPECT_LT(share, 0.65);
}

TEST(PairOrderTest, GoesOnWhereItStopped) {
  const auto lengths = random_lengths(200, 30, 1);
  PairOrder whole({1, 100, 40}, "a", lengths);
  const std::vector<Kept> steps = steps_of_epochs(whole, 3);
  for (size_t stop = 0; stop < steps.size(); ++stop) {
    PairOrder order({1, 100, 40}, "a", lengths);
    order.restore(steps[stop].first_sample);
    EXPECT_EQ(order.next_sample(), steps[stop].first_sample);
    for (size_t i = stop; i < std::min(steps.size(), stop + 3); ++i) {
      EXPECT_EQ(keep(order.next()), steps[i]);
    }
  }
}

TEST(PairOrderTest, RestoreWithinABatchTakesTheNextOne) {
  PairOrder order({1, 100, 40}, "a", random_lengths(200, 30, 1));
  const Kept first = keep(order.next());
  ASSERT_GT(first.pairs.size(), 1u);
  const Kept second = keep(order.next());
  order.restore(1);
  EXPECT_EQ(keep(order.next()), second);
  expect_message(message_of<DataError>([&] { order.restore(-1); }), {"-1"});
}

}  // namespace
}  // namespace dagpam::data

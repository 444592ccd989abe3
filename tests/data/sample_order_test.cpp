#include "data/sample_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "configs/errors.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

const std::string kDigest = "0123456789abcdef0123456789abcdef";

TEST(PermutationTest, IsABijectionForEveryLength) {
  for (int64_t n = 1; n <= 700; ++n) {
    for (const uint64_t key : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
      const Permutation permutation(key, n);
      std::vector<bool> seen(static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) {
        const int64_t to = permutation(i);
        ASSERT_TRUE(to >= 0 && to < n && !seen[static_cast<size_t>(to)]) << n << " " << i;
        seen[static_cast<size_t>(to)] = true;
      }
    }
  }
}

TEST(PermutationTest, IsABijectionAroundSquaresAndPowers) {
  for (const int64_t n : {1023, 1024, 1025, 65'535, 65'536, 65'537, 99'856, 1'000'003}) {
    const Permutation permutation(42, n);
    std::vector<bool> seen(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) seen[static_cast<size_t>(permutation(i))] = true;
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), n);
  }
}

TEST(PermutationTest, HoldsForHugeLengths) {
  for (const int64_t n :
       {(int64_t{1} << 61) + 1, (int64_t{1} << 62) - 1, int64_t{10'000'000'019}}) {
    const Permutation permutation(7, n);
    std::set<int64_t> seen;
    for (int64_t i = 0; i < 1000; ++i) seen.insert(permutation(n - 1 - i));
    EXPECT_EQ(seen.size(), 1000u);
    EXPECT_GE(*seen.begin(), 0);
    EXPECT_LT(*seen.rbegin(), n);
    EXPECT_LT(*seen.begin(), n / 100);  // spread out: the chance to fail is e^-10, the key is fixed
    EXPECT_GT(*seen.rbegin(), n - n / 100);
  }
}

// Over many keys each element goes everywhere equally often, and so do neighbours together.
TEST(PermutationTest, LooksLikeAShuffle) {
  constexpr int64_t kLength = 10, kKeys = 90'000;
  std::vector<int64_t> single(kLength), pair(kLength * kLength);
  for (int64_t key = 0; key < kKeys; ++key) {
    const Permutation permutation(mix_bits(static_cast<uint64_t>(key)), kLength);
    const int64_t a = permutation(3), b = permutation(4);
    ++single[static_cast<size_t>(a)];
    ++pair[static_cast<size_t>(a * kLength + b)];
  }
  const auto chi_square = [](const std::vector<int64_t>& counts, double expected) {
    double sum = 0;
    for (const int64_t count : counts) {
      if (count > 0) sum += std::pow(static_cast<double>(count) - expected, 2) / expected;
    }
    return sum;
  };
  EXPECT_LT(chi_square(single, kKeys / 10.0), 35);  // 9 degrees of freedom: 27.9 at 0.1 %
  EXPECT_LT(chi_square(pair, kKeys / 90.0), 150);   // 89 degrees of freedom: 135 at 0.1 %
  for (int64_t i = 0; i < kLength; ++i) EXPECT_EQ(pair[static_cast<size_t>(i * kLength + i)], 0);
}

std::vector<double> shares_of(const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> shares;
  for (const double weight : weights) shares.push_back(weight / sum);
  return shares;
}

TEST(BlendTest, EveryPrefixIsWithinOneOfItsShare) {
  std::mt19937_64 random(5);
  std::vector<std::vector<double>> mixtures = {{1},
                                               {1, 1},
                                               {3, 1},
                                               {0.7, 0.2, 0.1},
                                               {1, 2, 3, 4, 5, 6},
                                               {1, 0, 2},
                                               {1e-6, 1},
                                               {1, 1, 1, 1, 1e9},
                                               {1, 1, 1, 1e-300}};
  mixtures.push_back(std::vector<double>(100, 0.1));
  mixtures.back()[0] = 90;  // one large and many equal small ones: the hard case
  for (int i = 0; i < 40; ++i) {
    std::vector<double> weights(2 + random() % 20);
    for (double& weight : weights)
      weight = std::exp(std::uniform_real_distribution(-6.0, 3.0)(random));
    mixtures.push_back(weights);
  }
  for (const std::vector<double>& weights : mixtures) {
    const std::vector<double> shares = shares_of(weights);
    Blend blend(weights);
    double worst = 0;
    for (int64_t n = 1; n <= 20'000; ++n) {
      const size_t source = blend.next();
      ASSERT_GT(weights[source], 0);
      for (size_t i = 0; i < shares.size(); ++i) {
        const double ideal = static_cast<double>(n) * shares[i];
        worst = std::max(worst, std::abs(static_cast<double>(blend.drawn()[i]) - ideal));
      }
    }
    EXPECT_LT(worst, 1.0) << ::testing::PrintToString(weights);
    EXPECT_EQ(std::accumulate(blend.drawn().begin(), blend.drawn().end(), int64_t{0}), 20'000);
  }
}

TEST(BlendTest, GoesOnFromItsCounts) {
  const std::vector<double> weights = {0.31, 0.002, 5, 1.7};
  Blend whole(weights);
  for (int stop = 0; stop < 3000; ++stop) {
    Blend resumed(weights);
    resumed.restore(whole.drawn(), whole.since());
    Blend ahead = whole;
    for (int i = 0; i < 20; ++i) ASSERT_EQ(resumed.next(), ahead.next()) << stop;
    whole.next();
  }
}

TEST(BlendTest, GoesOnFarOut) {
  const std::vector<double> weights = {3, 1};
  Blend blend(weights);
  const int64_t rounds = int64_t{1} << 50;
  blend.restore({3 * rounds, rounds}, {0, 0});
  Blend start(weights);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(blend.next(), start.next());
}

// After a run went on with other weights, each source gives its new share from there on, and a
// later stop under these weights changes nothing.
TEST(BlendTest, NewWeightsBalanceFromWhereTheyCameIntoForce) {
  Blend before({3, 1});
  for (int i = 0; i < 1001; ++i) before.next();
  const std::vector<int64_t> switched = before.drawn();
  Blend after({1, 9});
  after.restore(switched, before.since());
  EXPECT_EQ(after.drawn(), switched);
  EXPECT_EQ(after.since(), switched);
  for (int n = 1; n <= 1000; ++n) {
    Blend resumed({1, 9});
    resumed.restore(after.drawn(), after.since());
    ASSERT_EQ(resumed.since(), switched);
    ASSERT_EQ(after.next(), resumed.next()) << n;
    ASSERT_LT(std::abs(static_cast<double>(after.drawn()[0] - switched[0]) - 0.1 * n), 1) << n;
  }
}

TEST(BlendTest, CountsThatCannotBeAreRefused) {
  Blend blend({3, 1});
  expect_message(message_of<DataError>([&] { blend.restore({100}, {0}); }),
                 {"1 sources", "expected 2"});
  expect_message(message_of<DataError>([&] {
                   blend.restore({3, 1}, {});
                 }),
                 {"0 sources", "expected 2"});
  expect_message(message_of<DataError>([&] { blend.restore({1, -1}, {0, 0}); }), {"source 1"});
  expect_message(message_of<DataError>([&] { blend.restore({5, 5}, {6, 0}); }), {"source 0"});
  expect_message(message_of<DataError>([&] { blend.restore({5, 5}, {-1, 0}); }), {"source 0"});
  EXPECT_EQ(blend.drawn(), (std::vector<int64_t>{0, 0}));
}

TEST(BlendTest, WeightsThatMakeNoShareAreRefused) {
  const double nan = std::nan(""), infinity = INFINITY;
  expect_message(message_of<ConfigError>([] { Blend({1, -1}); }), {"data.train.1.weight", "-1"});
  expect_message(message_of<ConfigError>([&] { Blend({nan}); }), {"data.train.0.weight", "nan"});
  expect_message(message_of<ConfigError>([&] { Blend({infinity}); }), {"data.train.0.weight"});
  expect_message(message_of<ConfigError>([] { Blend({0, 0}); }), {"data.train", "sum to 0"});
  expect_message(message_of<ConfigError>([] { Blend({1e308, 1e308}); }), {"data.train", "sum"});
}

TEST(SourceOrderTest, EachWindowOnceAnEpochAndAllFit) {
  for (const auto& [tokens, context] : {std::pair<int64_t, int64_t>{101, 10},
                                        {11, 10},
                                        {19, 10},
                                        {20, 10},
                                        {21, 10},
                                        {29, 10},
                                        {30, 10},
                                        {5000, 7},
                                        {2, 1},
                                        {50, 1}}) {
    SourceOrder order(1, kDigest, tokens, context);
    const int64_t windows = order.windows();
    EXPECT_EQ(windows, std::max<int64_t>(1, tokens / context - 1));
    std::set<int64_t> shifts;
    std::set<std::vector<int64_t>> orders;
    for (int64_t epoch = 0; epoch < 200; ++epoch) {
      std::vector<int64_t> offsets;
      for (int64_t i = 0; i < windows; ++i) offsets.push_back(order.offset(epoch * windows + i));
      orders.insert(offsets);
      std::sort(offsets.begin(), offsets.end());
      const int64_t shift = offsets.front();
      shifts.insert(shift);
      ASSERT_GE(shift, 0);
      ASSERT_LT(shift, context);
      for (int64_t i = 0; i < windows; ++i) {
        ASSERT_EQ(offsets[static_cast<size_t>(i)], shift + i * context);  // each exactly once
      }
      ASSERT_LE(offsets.back() + context + 1, tokens);
      ASSERT_LT(tokens - windows * context, 2 * context + 1);  // what an epoch leaves out
    }
    const int64_t possible = std::min(context, tokens - windows * context);
    EXPECT_EQ(std::ssize(shifts), possible);            // every shift comes
    EXPECT_TRUE(windows <= 5 || orders.size() == 200);  // no two epochs alike
  }
}

TEST(SourceOrderTest, DependsOnSeedDigestAndContextAlone) {
  const auto first = [](uint64_t seed, const std::string& digest) {
    SourceOrder order(seed, digest, 100'000, 16);
    std::vector<int64_t> offsets;
    for (int64_t i = 0; i < 50; ++i) offsets.push_back(order.offset(i));
    return offsets;
  };
  EXPECT_EQ(first(1, kDigest), first(1, kDigest));
  EXPECT_NE(first(1, kDigest), first(2, kDigest));
  EXPECT_NE(first(1, kDigest), first(1, std::string(32, '0')));
  SourceOrder forward(1, kDigest, 1000, 16), backward(1, kDigest, 1000, 16);
  std::vector<int64_t> a, b;
  for (int64_t i = 0; i < 500; ++i) a.push_back(forward.offset(i));
  for (int64_t i = 499; i >= 0; --i) b.push_back(backward.offset(i));
  std::reverse(b.begin(), b.end());
  EXPECT_EQ(a, b);
}

// A run that was saved by one version goes on under the next: these numbers never change.
TEST(SourceOrderTest, OrderIsTheSameInEveryVersion) {
  SourceOrder order(1337, kDigest, 1'115'394, 256);
  std::vector<int64_t> offsets;
  for (const int64_t draw : {0, 1, 2, 4354, 4355, 100'000'000})
    offsets.push_back(order.offset(draw));
  EXPECT_EQ(offsets, (std::vector<int64_t>{804'677, 920'389, 557'125, 285'509, 232'005, 473'193}));
}

SampleOrder make_order(const std::vector<double>& weights) {
  std::vector<SourceOrder> sources;
  for (size_t i = 0; i < weights.size(); ++i) {
    sources.emplace_back(3, std::string(32, static_cast<char>('a' + i)),
                         1000 + 500 * static_cast<int64_t>(i), 10);
  }
  return SampleOrder(std::move(sources), weights);
}

TEST(SampleOrderTest, SkippingEqualsWalking) {
  for (const std::vector<double>& weights : {std::vector<double>{1}, {1, 2}, {0.5, 0.3, 0.2}}) {
    SampleOrder walked = make_order(weights), skipped = make_order(weights);
    for (int i = 0; i < 777; ++i) walked.next();
    skipped.skip(777);
    SampleOrder restored = make_order(weights), rebuilt = make_order(weights);
    restored.restore(777, walked.drawn(), walked.drawn_before_weights());
    rebuilt.restore(777, {}, {});
    for (int i = 0; i < 500; ++i) {
      const SamplePlace place = walked.next();
      EXPECT_EQ(place.sample, 777 + i);
      for (SampleOrder* other : {&skipped, &restored, &rebuilt}) {
        const SamplePlace same = other->next();
        ASSERT_EQ(same.sample, place.sample);
        ASSERT_EQ(same.source, place.source);
        ASSERT_EQ(same.offset, place.offset);
      }
    }
  }
}

TEST(SampleOrderTest, EachSourceGivesEachWindowOnceItsEpoch) {
  SampleOrder order = make_order({3, 1});
  EXPECT_EQ(order.samples_per_epoch(), 99 + 149);
  std::vector<std::vector<int64_t>> offsets(2);
  for (int i = 0; i < 1000; ++i) {
    const SamplePlace place = order.next();
    offsets[place.source].push_back(place.offset);
  }
  EXPECT_EQ(order.drawn(), (std::vector<int64_t>{std::ssize(offsets[0]), std::ssize(offsets[1])}));
  for (size_t source = 0; source < 2; ++source) {
    const size_t windows = source == 0 ? 99 : 149;
    for (size_t begin = 0; begin + windows <= offsets[source].size(); begin += windows) {
      const auto first = offsets[source].begin() + static_cast<std::ptrdiff_t>(begin);
      EXPECT_EQ(std::set<int64_t>(first, first + static_cast<std::ptrdiff_t>(windows)).size(),
                windows);
    }
  }
}

TEST(SampleOrderTest, PositionsThatCannotBeAreRefused) {
  for (const auto& [sample, drawn] :
       std::vector<std::pair<int64_t, std::vector<int64_t>>>{{-1, {}},
                                                             {5, {2, 2}},
                                                             {4, {5, -1}},
                                                             {0, {INT64_MAX, INT64_MIN}},
                                                             {2, {INT64_MAX, INT64_MAX}},
                                                             {4, {4}},
                                                             {4, {2, 1, 1}}}) {
    SampleOrder order = make_order({1, 1});
    EXPECT_THROW(order.restore(sample, drawn, {0, 0}), DataError) << sample;
  }
}

}  // namespace
}  // namespace dagpam::data

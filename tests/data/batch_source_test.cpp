#include "data/batch_source.h"

#include <gtest/gtest.h>

#include "tests/data/batch_source_fixture.h"

namespace dagpam::data {
namespace {

TEST_F(BatchSourceTest, EachEpochHasEachWindowOnce) {
  mix(add_source("a", 96 * kContext + 20, 1000), 1);
  const auto source = open(options());
  ASSERT_EQ(source->samples_per_epoch(), 97);
  Rows rows;
  collect(*source, options(), 97, rows);  // 12 epochs
  std::vector<Tokens> epochs;
  for (int64_t epoch = 0; epoch < 12; ++epoch) {
    Tokens starts;
    for (int64_t i = 0; i < 97; ++i) {
      const Tokens& row = rows.at(epoch * 97 + i);
      for (size_t t = 1; t < row.size(); ++t) ASSERT_EQ(row[t], row[0] + static_cast<int64_t>(t));
      starts.push_back(row[0]);
    }
    epochs.push_back(starts);
    std::sort(starts.begin(), starts.end());
    for (size_t i = 1; i < starts.size(); ++i) ASSERT_EQ(starts[i], starts[i - 1] + kContext);
  }
  for (size_t epoch = 1; epoch < epochs.size(); ++epoch) EXPECT_NE(epochs[epoch], epochs[0]);
}

TEST_F(BatchSourceTest, RanksAndMicroBatchesShareOneOrder) {
  mix(add_source("a", 1500, 0), 2);
  mix(add_source("b", 900, 100'000), 1);
  constexpr int kSteps = 40;
  const Rows one = collect_all(layout(1, 12), kSteps);
  ASSERT_EQ(std::ssize(one), kSteps * 12);
  EXPECT_EQ(one.begin()->first, 0);
  EXPECT_EQ(one.rbegin()->first, kSteps * 12 - 1);
  for (const auto& [ranks, micro_batch] : std::vector<std::pair<int, int64_t>>{
           {1, 1}, {1, 4}, {2, 6}, {2, 2}, {3, 4}, {3, 1}, {4, 3}, {4, 1}, {12, 1}}) {
    EXPECT_EQ(collect_all(layout(ranks, micro_batch), kSteps), one) << ranks << " " << micro_batch;
  }
}

TEST_F(BatchSourceTest, ARankTakesAContiguousPart) {
  mix(add_source("a", 1500, 0), 1);
  const std::vector<BatchOptions> ranks = layout(3, 2);
  const auto source = open(ranks[1]);
  EXPECT_EQ(source->next().samples, (Tokens{4, 5}));
  EXPECT_EQ(source->next().samples, (Tokens{6, 7}));
  EXPECT_EQ(source->next().samples, (Tokens{16, 17}));
}

TEST_F(BatchSourceTest, ResumesAtEveryStepUnderAnyLayout) {
  mix(add_source("a", 400, 0), 0.7);
  mix(add_source("b", 300, 100'000), 0.3);
  constexpr int kSteps = 12;
  const Rows whole = collect_all(layout(1, 12), kSteps);
  const std::vector<BatchOptions> saver = layout(2, 3);
  for (int stop = 0; stop <= kSteps; ++stop) {
    Rows rows;
    DataPosition positions[2];
    for (size_t rank = 0; rank < 2; ++rank) {
      const auto source = open(saver[rank]);
      collect(*source, saver[rank], stop, rows);
      positions[rank] = source->position();
    }
    EXPECT_EQ(positions[0].next_sample, stop * 12);
    EXPECT_EQ(positions[0].drawn, positions[1].drawn);
    EXPECT_EQ(positions[0].digests, positions[1].digests);
    EXPECT_EQ(std::accumulate(positions[0].drawn.begin(), positions[0].drawn.end(), int64_t{0}),
              stop * 12);
    for (const std::vector<BatchOptions>& ranks : {layout(1, 12), layout(3, 1), layout(4, 3)}) {
      Rows all = rows;
      for (const BatchOptions& o : ranks) {
        collect(*open(o, positions[0]), o, kSteps - stop, all);
      }
      ASSERT_EQ(all, whole) << stop;
    }
  }
}

TEST_F(BatchSourceTest, PositionIsOfWhatWasHandedOutNotOfWhatWasLoaded) {
  mix(add_source("a", 5000, 0), 1);
  BatchOptions o = options();
  o.prefetch = 50;
  const auto source = open(o);
  EXPECT_EQ(source->position().next_sample, 0);
  for (int64_t step = 1; step <= 5; ++step) {
    source->next();
    ::usleep(2000);  // the loader runs ahead
    EXPECT_EQ(source->position().next_sample, step * 12);
    EXPECT_EQ(source->position().drawn, Tokens{step * 12});
  }
}

TEST_F(BatchSourceTest, PositionWithinAStepIsRefused) {
  mix(add_source("a", 500, 0), 1);
  const auto source = open(layout(1, 6)[0]);
  source->next();
  EXPECT_THROW(source->position(), std::logic_error);
  source->next();
  EXPECT_EQ(source->position().next_sample, 12);
}

TEST_F(BatchSourceTest, FarPositionsAreReachedAtOnce) {
  mix(add_source("a", 5000, 0), 1);
  mix(add_source("b", 5000, 100'000), 3);
  const std::vector<std::string> digests = open(options())->position().digests;
  const int64_t far = int64_t{1} << 40;
  const auto source = open(options(), {far * 4, digests, {far, far * 3}, {0, 0}});
  Rows rows;
  collect(*source, options(), 2, rows);
  EXPECT_EQ(rows.begin()->first, far * 4);
  EXPECT_EQ(source->position().drawn, (Tokens{far + 6, far * 3 + 18}));
}

TEST_F(BatchSourceTest, ListedSamplesAreThoseThatAreTrainedOn) {
  mix(add_source("a", 3000, 0), 1);
  mix(add_source("b", 3000, 100'000), 2);
  const Rows rows = collect_all({options()}, 40);
  Rows listed;
  for_each_sample(config_, options(), 12, 39 * 12, [&](const SamplePlace& place) {
    Tokens tokens(static_cast<size_t>(kContext + 1));
    std::iota(tokens.begin(), tokens.end(),
              static_cast<int64_t>(place.source) * 100'000 + place.offset);
    listed[place.sample] = tokens;
  });
  EXPECT_EQ(listed.size(), 39u * 12u);
  for (const auto& [sample, tokens] : listed) ASSERT_EQ(rows.at(sample), tokens) << sample;
}

TEST_F(BatchSourceTest, MixtureKeepsItsSharesAndSeedsDiffer) {
  mix(add_source("a", 3000, 0), 1);
  mix(add_source("b", 3000, 100'000), 5);
  const Rows rows = collect_all(layout(1, 12), 50);
  const auto from_b = std::count_if(rows.begin(), rows.end(),
                                    [](const auto& row) { return row.second.front() >= 100'000; });
  EXPECT_EQ(from_b, 500);
  BatchOptions other = options();
  other.seed = 8;
  EXPECT_NE(collect_all({other}, 50), rows);
}

TEST_F(BatchSourceTest, PositionsAndKeysFollowDocuments) {
  const std::vector<int32_t> lengths = {3, 1, 1, 20, 8, 8, 5, 40, 2, 9, 16};
  mix(add_source("a", 300, 0, lengths), 1);
  std::vector<int64_t> starts = {0};
  for (const int32_t length : lengths) starts.push_back(starts.back() + length);
  config_.set_reset_positions(true);
  config_.set_reset_attention(true);
  const auto source = open(options());
  for (int i = 0; i < 30; ++i) {
    const Batch& batch = source->next();
    ASSERT_EQ(batch.positions.size(), batch.inputs.size());
    ASSERT_EQ(batch.key_begin.size(), batch.inputs.size());
    for (size_t cell = 0; cell < batch.inputs.size(); ++cell) {
      const int64_t column = static_cast<int64_t>(cell) % kContext;
      const int64_t token = batch.inputs[cell];  // is its own offset
      const int64_t document = *(std::upper_bound(starts.begin(), starts.end(), token) - 1);
      const int64_t since = std::min(token - document, column);
      ASSERT_EQ(batch.positions[cell], since) << token;
      ASSERT_EQ(batch.key_begin[cell], column - since) << token;
    }
  }
}

TEST_F(BatchSourceTest, BoundariesAreLeftOutUnlessAskedFor) {
  mix(add_source("a", 300, 0, {10}), 1);
  const auto source = open(options());
  EXPECT_TRUE(source->next().positions.empty());
  EXPECT_TRUE(source->next().key_begin.empty());
}

}  // namespace
}  // namespace dagpam::data

#include "data/pair_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

#include "configs/errors.h"
#include "data/pair_batches.h"
#include "data/pair_evaluation.h"
#include "data/tokenizer.h"
#include "tests/data/scratch_folder.h"
#include "tests/data/toy_pairs.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int64_t>;

// What a row says, without padding.
struct Row {
  int64_t pair = 0;
  Ids source, inputs, targets;
  bool operator==(const Row&) const = default;
};
using Rows = std::map<int64_t, Row>;  // by sample

class PairSourceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<ScratchFolder>();
    sidecar_ = prepare_pairs(toy_pairs(*folder_, 300));
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static PairOptions options() {
    PairOptions options;
    options.prefix = *folder_ / "set";
    options.seed = 3;
    options.batch_tokens = 60;
    options.context = 20;
    options.vocab = 1000;
    return options;
  }

  static Ids cut(const Ids& cells, int64_t row, int64_t width, int64_t length) {
    const auto begin = cells.begin() + row * width;
    // Behind the sentence there is nothing but padding.
    EXPECT_TRUE(std::all_of(begin + length, begin + width,
                            [](int64_t id) { return id == sidecar_.special.pad; }));
    return {begin, begin + length};
  }

  static void add_rows(const PairBatch& batch, Rows& rows) {
    for (int64_t row = 0; row < batch.rows; ++row) {
      const auto i = static_cast<size_t>(row);
      const int64_t target = batch.target_lengths[i];
      Row made{batch.pairs[i], cut(batch.source, row, batch.source_length, batch.source_lengths[i]),
               cut(batch.target_inputs, row, batch.target_length, target),
               cut(batch.targets, row, batch.target_length, target)};
      EXPECT_TRUE(rows.emplace(batch.samples[i], std::move(made)).second) << batch.samples[i];
    }
  }

  // The micro-batches of one step.
  static std::vector<PairBatch> step_of(PairSource& source) {
    std::vector<PairBatch> batches;
    do {
      batches.push_back(source.next());
    } while (!batches.back().ends_step);
    return batches;
  }

  // The rows of `steps` steps over all ranks, and what every rank says of a step's size.
  static Rows collect(PairOptions options, int ranks, int steps, const DataPosition& from) {
    Rows rows;
    std::vector<std::vector<int64_t>> sizes(static_cast<size_t>(steps));
    options.ranks = ranks;
    for (options.rank = 0; options.rank < ranks; ++options.rank) {
      const auto source = open_pairs(options, from);
      for (auto& size : sizes) {
        for (const PairBatch& batch : step_of(*source)) {
          add_rows(batch, rows);
          size = {batch.step_rows, batch.step_target_tokens, batch.epoch};
        }
      }
    }
    int64_t total = 0, tokens = 0;
    for (const auto& size : sizes) {
      total += size[0];
      tokens += size[1];
    }
    int64_t found = 0;
    for (const auto& [sample, row] : rows) found += std::ssize(row.targets);
    EXPECT_EQ(std::ssize(rows), total);
    EXPECT_EQ(found, tokens);
    return rows;
  }

  static std::unique_ptr<ScratchFolder> folder_;
  static PairSidecar sidecar_;
};

std::unique_ptr<ScratchFolder> PairSourceTest::folder_;
PairSidecar PairSourceTest::sidecar_;

TEST_F(PairSourceTest, RowsAreTheSentences) {
  const auto tokenizer = tokenizer_from_json(sidecar_.tokenizer_json);
  const auto line = [](const std::string& text, int64_t number) {
    size_t begin = 0;
    for (int64_t i = 0; i < number; ++i) begin = text.find('\n', begin) + 1;
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  const auto words = [&](const Ids& ids, size_t first, size_t last) {
    const std::vector<int32_t> inner(ids.begin() + static_cast<int64_t>(first),
                                     ids.end() - static_cast<int64_t>(last));
    return tokenizer->decode(inner);
  };
  const std::string sources = read_bytes(*folder_ / "train.a");
  const std::string targets = read_bytes(*folder_ / "train.b");
  for (const auto& [sample, row] : collect(options(), 1, 20, {})) {
    EXPECT_EQ(row.source.back(), sidecar_.special.eos);
    EXPECT_EQ(row.targets.back(), sidecar_.special.eos);
    EXPECT_EQ(row.inputs.front(), sidecar_.special.bos);
    EXPECT_TRUE(std::equal(row.inputs.begin() + 1, row.inputs.end(), row.targets.begin()));
    EXPECT_EQ(words(row.source, 0, 1), line(sources, row.pair));
    EXPECT_EQ(words(row.targets, 0, 1), line(targets, row.pair));
  }
}

TEST_F(PairSourceTest, TheLoaderMakesWhatTrainingTakes) {
  PairOptions o = options();
  o.micro_tokens = 20;
  o.ranks = 3;  // some steps have fewer rows than that
  const auto expected = open_pairs(o, {});
  const auto made = as_batches(open_pairs(o, {}));
  Batch batch;
  for (int i = 0; i < 60; ++i) {
    to_batch(expected->next(), sidecar_.special, batch);
    const Batch& found = made->next();
    EXPECT_EQ(found.rows, batch.rows);
    EXPECT_EQ(found.context, batch.context);
    EXPECT_EQ(found.source_context, batch.source_context);
    EXPECT_EQ(found.samples, batch.samples);
    EXPECT_EQ(found.inputs, batch.inputs);
    EXPECT_EQ(found.targets, batch.targets);
    EXPECT_EQ(found.source, batch.source);
    EXPECT_EQ(found.source_lengths, batch.source_lengths);
    EXPECT_EQ(found.step_tokens, batch.step_tokens);
    EXPECT_EQ(found.ends_step, batch.ends_step);
  }
}

TEST_F(PairSourceTest, AnEpochHasEveryPairOnce) {
  const auto source = open_pairs(options(), {});
  EXPECT_EQ(source->pairs_per_epoch(), 300);
  const Rows rows = collect(options(), 1, static_cast<int>(source->batches_per_epoch()), {});
  std::set<int64_t> pairs;
  for (const auto& [sample, row] : rows) pairs.insert(row.pair);
  EXPECT_EQ(rows.size(), 300u);
  EXPECT_EQ(pairs.size(), 300u);
  EXPECT_EQ(rows.rbegin()->first, 299);
}

TEST_F(PairSourceTest, TheSameRowsUnderAnyRanksAndMicroBatches) {
  const Rows rows = collect(options(), 1, 70, {});  // some epochs
  for (const int ranks : {2, 3, 7}) {
    for (const int64_t micro : {0, 1, 13, 25}) {
      PairOptions cut = options();
      cut.micro_tokens = micro;
      EXPECT_EQ(collect(cut, ranks, 70, {}), rows) << ranks << " ranks, " << micro;
    }
  }
}

TEST_F(PairSourceTest, TokensNeverAboveTheLimit) {
  for (const int64_t micro : {0, 25}) {
    PairOptions cut = options();
    cut.micro_tokens = micro;
    const auto source = open_pairs(cut, {});
    for (int i = 0; i < 200; ++i) {
      const PairBatch& batch = source->next();
      const int64_t longest = std::max(batch.source_length, batch.target_length);
      EXPECT_LE(batch.rows * longest, micro > 0 ? micro : cut.batch_tokens);
    }
  }
}

TEST_F(PairSourceTest, ARankMayGetNoRow) {
  PairOptions one = options();
  one.batch_tokens = 13;  // mostly one pair a step
  one.ranks = 16;
  one.rank = 5;
  const auto source = open_pairs(one, {});
  bool none = false;
  for (int i = 0; i < 50; ++i) {
    const PairBatch& batch = source->next();
    EXPECT_TRUE(batch.ends_step);
    EXPECT_GT(batch.step_target_tokens, 0);
    if (batch.rows > 0) continue;
    none = true;
    EXPECT_EQ(batch.source_length, 1);
    EXPECT_EQ(batch.target_length, 1);
    EXPECT_TRUE(batch.source.empty());
  }
  EXPECT_TRUE(none);
}

TEST_F(PairSourceTest, GoesOnAfterEveryStepUnderOtherRanks) {
  PairOptions micro = options();
  micro.micro_tokens = 20;
  const auto whole = open_pairs(micro, {});
  DataPosition position = whole->position();
  EXPECT_EQ(position.next_sample, 0);
  for (int step = 0; step < 90; ++step) {
    const auto again = open_pairs(micro, position);
    EXPECT_EQ(again->position().next_sample, position.next_sample);
    Rows expected, found;
    for (const PairBatch& batch : step_of(*whole)) add_rows(batch, expected);
    for (const PairBatch& batch : step_of(*again)) add_rows(batch, found);
    EXPECT_EQ(found, expected);
    if (step % 30 == 0) {
      EXPECT_EQ(collect(options(), 3, 1, position), expected);
    }
    position = whole->position();
    EXPECT_EQ(position.next_sample, again->position().next_sample);
    EXPECT_EQ(position.drawn, (std::vector<int64_t>{position.next_sample}));
  }
}

TEST_F(PairSourceTest, NoPositionWithinAStep) {
  PairOptions micro = options();
  micro.micro_tokens = 1;
  const auto source = open_pairs(micro, {});
  while (source->next().ends_step) {
  }
  EXPECT_THROW(source->position(), std::logic_error);
}

TEST_F(PairSourceTest, OtherDataIsRefusedUnlessAllowed) {
  DataPosition from = open_pairs(options(), {})->position();
  from.digests = {std::string(32, '0')};
  from.next_sample = 100;
  expect_message(message_of<DataError>([&] { open_pairs(options(), from); }),
                 {"set.train", std::string(32, '0'), "--allow-change data.train"});
  PairOptions allowed = options();
  allowed.allow_other_data = true;
  EXPECT_GE(open_pairs(allowed, from)->position().next_sample, 100);
}

TEST_F(PairSourceTest, WhatDoesNotFitTheModelIsRefused) {
  PairOptions small = options();
  small.context = 10;
  expect_message(message_of<DataError>([&] { open_pairs(small, {}); }),
                 {"set.train", "of 300 pairs", "10 tokens (model.context)", "the longest 13",
                  "--max-tokens 10"});
  expect_message(message_of<DataError>([&] { PairEvaluation(small, "test"); }),
                 {"set.test", "of 20 pairs", "leave these pairs out"});
  small = options();
  small.vocab = 5;
  expect_message(message_of<ConfigError>([&] { open_pairs(small, {}); }),
                 {"model.vocab: 5", std::to_string(sidecar_.vocab_size)});
  small = options();
  small.batch_tokens = 12;
  expect_message(message_of<ConfigError>([&] { open_pairs(small, {}); }),
                 {"train.batch_tokens: 12", "13 tokens"});
  expect_message(message_of<DataError>([&] { PairEvaluation(options(), "valid"); }),
                 {"set.json", "'valid'", "--valid-source"});
}

TEST_F(PairSourceTest, EvaluationHasEveryPairOnceShortestFirst) {
  for (const int ranks : {1, 3}) {
    std::set<int64_t> seen;
    std::vector<int64_t> totals(static_cast<size_t>(ranks), 0);
    PairOptions cut = options();
    cut.ranks = ranks;
    for (cut.rank = 0; cut.rank < ranks; ++cut.rank) {
      PairEvaluation evaluation(cut, "test");
      PairBatch batch;
      int64_t batches = 0, longest = 0;
      for (; evaluation.next(batch); ++batches) {
        totals[static_cast<size_t>(cut.rank)] += batch.step_target_tokens;
        EXPECT_EQ(batch.samples, batch.pairs);
        for (const int64_t pair : batch.pairs) {
          EXPECT_TRUE(seen.insert(pair).second);
          EXPECT_GE(evaluation.dataset().longer_side(pair), longest);
          longest = evaluation.dataset().longer_side(pair);
        }
      }
      EXPECT_EQ(batches, evaluation.batches());
    }
    EXPECT_EQ(seen.size(), 20u);
    for (const int64_t total : totals) {
      EXPECT_EQ(total, sidecar_.find("test")->target.tokens);
    }
  }
}

}  // namespace
}  // namespace dagpam::data

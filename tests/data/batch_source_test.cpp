#include "data/batch_source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_dataset.h"
#include "data/indexed_writer.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

using Tokens = std::vector<int64_t>;
using Rows = std::map<int64_t, Tokens>;  // by global sample index: inputs, then the last target

constexpr int64_t kContext = 8;
constexpr int64_t kVocab = 1'000'000;

class BatchSourceTest : public ::testing::Test {
 protected:
  // A source whose token t has id first + t, so that a row tells its source and its place.
  std::string add_source(const std::string& name, int32_t tokens, int32_t first,
                         const std::vector<int32_t>& documents = {}) {
    IndexedWriter writer(folder_ / (name + ".train"), TokenWidth::kI32);
    std::vector<int32_t> ids(static_cast<size_t>(tokens));
    std::iota(ids.begin(), ids.end(), first);
    size_t at = 0;
    for (const int32_t length : documents) {
      writer.add_document(std::span(ids).subspan(at, static_cast<size_t>(length)));
      at += static_cast<size_t>(length);
    }
    writer.add_document(std::span(ids).subspan(at));
    writer.finish();
    return folder_ / name;
  }

  void mix(const std::string& prefix, double weight) {
    configs::WeightedData* data = config_.add_train();
    data->set_prefix(prefix);
    data->set_weight(weight);
  }

  static BatchOptions options() {
    BatchOptions options;
    options.seed = 7;
    options.context = kContext;
    options.global_batch = 12;
    options.micro_batch = 12;
    options.vocab = kVocab;
    options.prefetch = 3;
    return options;
  }

  std::unique_ptr<BatchSource> open(const BatchOptions& options, const DataPosition& from = {}) {
    return open_batches(config_, options, from);
  }

  // What one rank is given in the next `steps` steps; every row and its shape are checked.
  static void collect(BatchSource& source, const BatchOptions& o, int steps, Rows& rows) {
    const int64_t batches = steps * o.global_batch / o.ranks / o.micro_batch;
    for (int64_t i = 0; i < batches; ++i) {
      const Batch& batch = source.next();
      ASSERT_EQ(batch.rows, o.micro_batch);
      ASSERT_EQ(batch.context, o.context);
      ASSERT_EQ(std::ssize(batch.samples), batch.rows);
      ASSERT_EQ(std::ssize(batch.inputs), batch.rows * o.context);
      ASSERT_EQ(batch.targets.size(), batch.inputs.size());
      for (int64_t row = 0; row < batch.rows; ++row) {
        const auto begin = batch.inputs.begin() + row * o.context;
        Tokens tokens(begin, begin + o.context);
        tokens.push_back(batch.targets[static_cast<size_t>((row + 1) * o.context - 1)]);
        for (int64_t t = 0; t < o.context; ++t) {  // targets are the inputs one later
          ASSERT_EQ(batch.targets[static_cast<size_t>(row * o.context + t)],
                    tokens[static_cast<size_t>(t + 1)]);
        }
        const bool is_new = rows.emplace(batch.samples[static_cast<size_t>(row)], tokens).second;
        ASSERT_TRUE(is_new) << "a sample came twice";
      }
    }
  }

  Rows collect_all(const std::vector<BatchOptions>& ranks, int steps,
                   const DataPosition& from = {}) {
    Rows rows;
    for (const BatchOptions& o : ranks) collect(*open(o, from), o, steps, rows);
    return rows;
  }

  static std::vector<BatchOptions> layout(int ranks, int64_t micro_batch) {
    std::vector<BatchOptions> all;
    for (int rank = 0; rank < ranks; ++rank) {
      all.push_back(options());
      all.back().rank = rank;
      all.back().ranks = ranks;
      all.back().micro_batch = micro_batch;
    }
    return all;
  }

  ScratchFolder folder_;
  configs::DataConfig config_;
};

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

TEST_F(BatchSourceTest, BadTokenComesAfterTheGoodBatchesAndAgain) {
  mix(add_source("a", 2000, 0), 1);
  BatchOptions o = options();
  const Rows good = collect_all({o}, 20);
  // The vocabulary ends below the largest token of the first 20 steps: some step must fail.
  int64_t largest = 0;
  for (const auto& [sample, row] : good) largest = std::max(largest, row.back());
  o.vocab = largest;
  int64_t first_bad = 0;
  while (good.at(first_bad).back() < largest) ++first_bad;
  ASSERT_GE(first_bad, 2 * 12);
  o.prefetch = 50;
  const auto source = open(o);
  ::usleep(50'000);  // the loader most likely fails before the first batch is taken
  for (int64_t step = 0; step < first_bad / 12; ++step) {
    EXPECT_EQ(source->next().samples.front(), step * 12);
  }
  for (int again = 0; again < 3; ++again) {
    expect_message(message_of<DataError>([&] { source->next(); }),
                   {"a.train.bin", "token " + std::to_string(largest),
                    "id " + std::to_string(largest), "0 to " + std::to_string(largest - 1)});
  }
}

TEST_F(BatchSourceTest, FileCutShortInUseIsAnError) {
  mix(add_source("a", 5000, 0), 1);
  const auto source = open(options());
  source->next();
  ASSERT_EQ(::truncate((folder_ / "a.train.bin").c_str(), 100), 0);
  const auto drain = [&] {
    for (int i = 0; i < 100; ++i) source->next();
  };
  expect_message(message_of<DataError>(drain), {"a.train.bin", "cut short"});
}

TEST_F(BatchSourceTest, EndsWhereverItIsLeft) {
  mix(add_source("a", 3000, 0), 1);
  for (int taken = 0; taken < 6; ++taken) {
    for (int64_t prefetch = 1; prefetch < 4; ++prefetch) {
      BatchOptions o = options();
      o.prefetch = prefetch;
      const auto source = open(o);
      for (int i = 0; i < taken; ++i) source->next();
    }
  }
}

TEST_F(BatchSourceTest, OtherDataOnResumeIsRefused) {
  mix(add_source("a", 3000, 0), 1);
  mix(add_source("b", 3000, 9), 1);
  const auto source = open(options());
  source->next();
  const DataPosition saved = source->position();
  DataPosition position = saved;
  position.digests[1] = std::string(32, '0');
  expect_message(message_of<DataError>([&] { open(options(), position); }),
                 {"b.train", saved.digests[1], position.digests[1]});
  add_source("a", 3000, 1);  // other content, same size
  expect_message(message_of<DataError>([&] { open(options(), saved); }),
                 {"a.train", saved.digests[0]});
  add_source("a", 3000, 0);
  EXPECT_EQ(message_of<DataError>([&] { open(options(), saved); }), "");
  mix(add_source("c", 3000, 0), 1);
  expect_message(message_of<DataError>([&] { open(options(), saved); }), {"3 sources", "the 2"});
}

TEST_F(BatchSourceTest, TooShortATextIsRefused) {
  mix(add_source("a", kContext, 0), 1);
  expect_message(message_of<DataError>([&] { open(options()); }),
                 {"a.train", "8 tokens", "at least 9", "model.context"});
  add_source("a", kContext + 1, 0);
  EXPECT_EQ(open(options())->samples_per_epoch(), 1);
}

TEST_F(BatchSourceTest, MissingDataIsNamed) {
  mix(folder_ / "no", 1);
  expect_message(message_of<DataError>([&] { open(options()); }), {"no.train.bin", "No such file"});
}

TEST_F(BatchSourceTest, VocabulariesMustAgree) {
  Sidecar sidecar;
  sidecar.vocab_size = 5000;
  sidecar.train_tokens = 300;
  for (const std::string name : {"a", "b"}) {
    mix(add_source(name, 300, 0), 1);
    sidecar.tokenizer_json = "{\"kind\":\"" + name + "\"}";
    sidecar.tokenizer_digest = xxh3_hex(sidecar.tokenizer_json);
    write_sidecar(folder_ / name, sidecar);
  }
  expect_message(message_of<DataError>([&] { open(options()); }),
                 {"b.json", "a.json", sidecar.tokenizer_digest, "one tokenizer"});
  write_sidecar(folder_ / "a", sidecar);
  EXPECT_EQ(message_of<DataError>([&] { open(options()); }), "");
  BatchOptions o = options();
  o.vocab = 4999;
  expect_message(message_of<ConfigError>([&] { open(o); }),
                 {"model.vocab", "4999", "5000", ".json"});
}

TEST_F(BatchSourceTest, OptionsThatDoNotDivideAreRefused) {
  EXPECT_THROW(open(options()), ConfigError);  // no source
  mix(add_source("a", 300, 0), 1);
  struct Row {
    const char* field;
    void (*change)(BatchOptions&);
  };
  const std::vector<Row> table = {
      {"model.context", [](BatchOptions& o) { o.context = 0; }},
      {"model.vocab", [](BatchOptions& o) { o.vocab = 0; }},
      {"data.prefetch", [](BatchOptions& o) { o.prefetch = 0; }},
      {"ranks", [](BatchOptions& o) { o.ranks = 0; }},
      {"rank", [](BatchOptions& o) { o.rank = 1; }},
      {"rank", [](BatchOptions& o) { o.rank = -1; }},
      {"train.global_batch", [](BatchOptions& o) { o.global_batch = 0; }},
      {"train.global_batch", [](BatchOptions& o) { o.ranks = 5; }},
      {"train.micro_batch", [](BatchOptions& o) { o.micro_batch = 5; }},
      {"train.micro_batch", [](BatchOptions& o) { o.micro_batch = 0; }},
      {"train.micro_batch", [](BatchOptions& o) { o.ranks = 2; }},
  };
  for (const Row& row : table) {
    BatchOptions o = options();
    row.change(o);
    expect_message(message_of<ConfigError>([&] { open(o); }), {row.field, "expected"});
  }
}

}  // namespace
}  // namespace dagpam::data

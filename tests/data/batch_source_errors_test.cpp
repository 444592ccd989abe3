// What a batch source does with bad data, and with options and positions that do not fit.
#include <gtest/gtest.h>

#include "tests/data/batch_source_fixture.h"

namespace dagpam::data {
namespace {

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

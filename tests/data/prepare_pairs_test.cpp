#include "data/prepare_pairs.h"

#include <gtest/gtest.h>

#include <set>

#include "configs/errors.h"
#include "data/indexed_dataset.h"
#include "data/pair_dataset.h"
#include "data/prepare.h"
#include "data/verify.h"
#include "tests/data/scratch_folder.h"
#include "tests/data/toy_pairs.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int64_t>;

class PreparePairsTest : public ::testing::Test {
 protected:
  PreparePairsTest() : options_(toy_pairs(folder_, 40)) {}

  void write(const std::string& source, const std::string& target) const {
    write_bytes(folder_ / "train.a", source);
    write_bytes(folder_ / "train.b", target);
  }

  static Ids sentence(const PairDataset& dataset, PairSideName side, int64_t pair) {
    Ids ids(static_cast<size_t>(dataset.length(side, pair)));
    dataset.read(side, pair, ids);
    return ids;
  }

  template <typename Exception>
  void expect_refused(std::initializer_list<std::string> parts) const {
    const std::set<std::string> before = folder_.names();
    expect_message(message_of<Exception>([&] { prepare_pairs(options_); }), parts);
    EXPECT_EQ(folder_.names(), before);
  }

  ScratchFolder folder_;
  PreparePairsOptions options_;
};

TEST_F(PreparePairsTest, WritesBothSidesWithEos) {
  write("a b\nc\n", "d\na a c");
  options_.test = {};
  const PairSidecar made = prepare_pairs(options_);
  // words a b <eos> c d, by first appearance; then pad, bos, eos
  EXPECT_EQ(made.vocab_size, 5 + 3);
  EXPECT_EQ(made.special.pad, 5);
  EXPECT_EQ(made.special.bos, 6);
  EXPECT_EQ(made.special.eos, 7);
  ASSERT_EQ(made.splits.size(), 1u);
  EXPECT_EQ(made.splits[0].pairs, 2);
  EXPECT_EQ(made.splits[0].source.tokens, 5);
  EXPECT_EQ(made.splits[0].target.longest, 4);

  const PairDataset dataset(options_.out, "train");
  EXPECT_EQ(dataset.pairs(), 2);
  EXPECT_EQ(sentence(dataset, PairSideName::kSource, 0), (Ids{0, 1, 7}));
  EXPECT_EQ(sentence(dataset, PairSideName::kSource, 1), (Ids{3, 7}));
  EXPECT_EQ(sentence(dataset, PairSideName::kTarget, 0), (Ids{4, 7}));
  EXPECT_EQ(sentence(dataset, PairSideName::kTarget, 1), (Ids{0, 0, 3, 7}));
  EXPECT_EQ(dataset.longer_side(1), 4);
}

TEST_F(PreparePairsTest, SidecarIsReadAsItWasWritten) {
  options_.max_tokens = 8;
  const PairSidecar made = prepare_pairs(options_);
  const PairSidecar read = read_pair_sidecar(options_.out);
  EXPECT_TRUE(is_pair_set(options_.out));
  EXPECT_EQ(read.tokenizer_digest, made.tokenizer_digest);
  EXPECT_EQ(read.max_tokens, 8);
  ASSERT_EQ(read.splits.size(), 2u);
  EXPECT_EQ(read.splits[0].name, "train");
  EXPECT_EQ(read.splits[0].dropped_long, made.splits[0].dropped_long);
  EXPECT_EQ(read.splits[1].name, "test");
  EXPECT_EQ(read.splits[1].source.digest, made.splits[1].source.digest);
  EXPECT_EQ(read.splits[1].target.file.name, folder_ / "test.b");
}

TEST_F(PreparePairsTest, EveryTokenizerServes) {
  write("ab\nc\n", "\xC3\xA9\na\n");
  options_.test = {};
  options_.tokenizer = "byte";
  const PairSidecar bytes = prepare_pairs(options_);
  EXPECT_EQ(bytes.vocab_size, 256 + 3);
  EXPECT_EQ(sentence(PairDataset(options_.out, "train"), PairSideName::kTarget, 0),
            (Ids{0xC3, 0xA9, 258}));
  options_.tokenizer = "char";  // a b c é and the line's end
  EXPECT_EQ(prepare_pairs(options_).vocab_size, 5 + 3);
}

TEST_F(PreparePairsTest, LongTrainingPairsAreDroppedAndCounted) {
  write("a b\na b c\na\na\n", "a\na\na b c\nc\n");
  write_bytes(folder_ / "test.a", "a b c a\n");
  write_bytes(folder_ / "test.b", "a\n");
  options_.max_tokens = 3;
  const PairSidecar made = prepare_pairs(options_);
  EXPECT_EQ(made.find("train")->pairs, 2);
  EXPECT_EQ(made.find("train")->dropped_long, 2);
  EXPECT_EQ(made.find("train")->source.longest, 3);
  EXPECT_EQ(made.find("test")->pairs, 1);  // a test text is left whole
  EXPECT_EQ(made.find("test")->source.longest, 5);
  EXPECT_EQ(sentence(PairDataset(options_.out, "train"), PairSideName::kTarget, 1).size(), 2u);
  options_.max_tokens = 1;
  expect_refused<DataError>({"train.a", "no pair is left", "4 are longer", "--max-tokens 1"});
}

TEST_F(PreparePairsTest, EmptySidesAreRefusedOrSkipped) {
  write("a\n \t\xC2\xA0\nb\n", "a\nb\n\n");
  options_.test = {};
  expect_refused<DataError>({folder_ / "train.a", "line 2 is empty", "--skip-empty"});
  options_.skip_empty = true;
  const PairSidecar made = prepare_pairs(options_);
  EXPECT_EQ(made.splits[0].pairs, 1);
  EXPECT_EQ(made.splits[0].skipped_empty, 2);
  write("\n", "a\n");
  expect_refused<DataError>({folder_ / "train.a", "no pair is left", "1 have an empty side"});
}

TEST_F(PreparePairsTest, BadTexts) {
  write("a\nb\nc", "a\nb\n");
  expect_refused<DataError>({folder_ / "train.a: 3 lines", folder_ / "train.b: 2", "as many"});
  write("a\nb\n", "a\n\xC3(\n");
  expect_refused<DataError>({folder_ / "train.b", "0xC3", "byte 2 (line 2, column 1)", "UTF-8"});
  write(std::string("\xFF\xFE"
                    "a\0\n\0",
                    6),
        "a\n");  // UTF-16
  expect_refused<DataError>({folder_ / "train.a", "0xFF", "not UTF-8"});
  write(
      "\xEF\xBB\xBF"
      "a\n",
      "a\n");
  expect_refused<DataError>({folder_ / "train.a", "byte-order mark"});
  write("a\n", "a\r\n");
  expect_refused<DataError>({folder_ / "train.b", "line 1", "carriage return"});
  write("", "a\n");
  expect_refused<DataError>({folder_ / "train.a", "empty text"});
  write("a\n", "b\n");
  write_bytes(folder_ / "test.a", "a\n");
  write_bytes(folder_ / "test.b", "b z\n");
  expect_refused<DataError>({folder_ / "test.b", "\"z\"", "byte 2 (line 1, column 3)"});
  std::filesystem::remove(folder_ / "test.b");
  expect_refused<DataError>({folder_ / "test.b", "cannot be read"});
}

TEST_F(PreparePairsTest, BadOptions) {
  options_.valid.target = folder_ / "test.b";
  expect_refused<ConfigError>({"--valid-source: missing", "--valid-target"});
  options_.valid = {};
  options_.tokenizer = "bpe";
  expect_refused<ConfigError>({"'bpe'"});
  options_.tokenizer = "word";
  options_.train = {};
  expect_refused<ConfigError>({"--train-source"});
  options_ = toy_pairs(folder_, 40);
  std::filesystem::rename(folder_ / "train.a", folder_ / "set.train.source.bin");
  options_.train.source = folder_ / "set.train.source.bin";
  expect_refused<ConfigError>({"--out", "would replace the input"});
  options_.out = options_.test.source + "/set";
  expect_refused<IoError>({"cannot be made"});
}

TEST_F(PreparePairsTest, StoppedBySignalLeavesNothing) {
  int asked = 0;
  options_.give_up = [&] { return ++asked == 30; };
  expect_refused<Interrupted>({"stopped by a signal"});
}

TEST_F(PreparePairsTest, OneKindOfSetReplacesTheOther) {
  PrepareOptions text;
  text.train = {folder_ / "train.a"};
  text.tokenizer = "word";
  text.out = options_.out;
  text.progress = nullptr;
  prepare(text);
  prepare_pairs(options_);
  EXPECT_FALSE(folder_.names().contains("set.train.bin"));
  EXPECT_TRUE(folder_.names().contains("set.test.target.idx"));
  prepare(text);
  EXPECT_TRUE(folder_.names().contains("set.train.bin"));
  EXPECT_FALSE(folder_.names().contains("set.test.target.idx"));
}

TEST_F(PreparePairsTest, EachReaderRefusesTheOtherKind) {
  prepare_pairs(options_);
  expect_message(message_of<DataError>([&] { read_sidecar(options_.out); }),
                 {"set.json", "sentence pairs", "data prepare"});
  expect_message(message_of<DataError>([&] { open_dataset(split_path(options_.out, "train")); }),
                 {"set.train.bin"});
  PrepareOptions text;
  text.train = {folder_ / "train.a"};
  text.tokenizer = "word";
  text.out = folder_ / "text";
  text.progress = nullptr;
  prepare(text);
  EXPECT_FALSE(is_pair_set(text.out));
  EXPECT_FALSE(is_pair_set(folder_ / "nothing"));
  expect_message(message_of<DataError>([&] { PairDataset(text.out, "train"); }),
                 {"text.json", "one text", "data pairs"});
}

// Verification finds what was done to the files.
class VerifyPairsTest : public PreparePairsTest {
 protected:
  VerifyPairsTest() { prepare_pairs(options_); }

  std::string problem() const {
    for (const SplitReport& split : verify_dataset(options_.out).splits) {
      if (!split.problem.empty()) return split.problem;
    }
    return "";
  }

  void change(const std::string& name, size_t byte, char value) const {
    std::string bytes = read_bytes(folder_ / name);
    bytes[byte] = value;
    write_bytes(folder_ / name, bytes);
  }
};

TEST_F(VerifyPairsTest, GoodSet) {
  const DatasetReport report = verify_dataset(options_.out);
  EXPECT_TRUE(report.good()) << problem();
  ASSERT_TRUE(report.pairs.has_value());
  ASSERT_EQ(report.splits.size(), 4u);
  EXPECT_EQ(report.splits[1].name, "train.target");
  EXPECT_EQ(report.splits[1].documents, 40);
  EXPECT_EQ(report.splits[1].tokens, report.pairs->find("train")->target.tokens);
  EXPECT_EQ(describe_dataset(options_.out).splits.size(), 4u);
}

TEST_F(VerifyPairsTest, DamageIsFound) {
  change("set.train.source.bin", 0, 'x');  // another id of the vocabulary, or none of it
  EXPECT_NE(problem(), "");
  prepare_pairs(options_);
  change("set.train.source.bin", 1, '\x7F');
  expect_message(problem(), {"set.train.source.bin", "outside the vocabulary"});
  prepare_pairs(options_);
  const auto eos = static_cast<char>(read_pair_sidecar(options_.out).special.eos);
  change("set.test.target.bin", 0, eos);
  EXPECT_NE(problem(), "");
  prepare_pairs(options_);
  std::filesystem::copy_file(folder_ / "set.test.source.idx", folder_ / "set.train.source.idx",
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(folder_ / "set.test.source.bin", folder_ / "set.train.source.bin",
                             std::filesystem::copy_options::overwrite_existing);
  expect_message(problem(), {"set.train.source.idx", "20 sentences", "expected 40"});
  expect_message(message_of<DataError>([&] { describe_dataset(options_.out); }),
                 {"set.train.source.idx", "20 sentences"});
  std::filesystem::remove(folder_ / "set.test.target.bin");
  expect_message(message_of<DataError>([&] { describe_dataset(options_.out); }), {"set.t"});
}

TEST_F(VerifyPairsTest, BadSidecars) {
  const std::string good = read_bytes(folder_ / "set.json");
  const auto refused = [&](const std::string& from, const std::string& to,
                           std::initializer_list<std::string> parts) {
    std::string bad = good;
    const size_t at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_bytes(folder_ / "set.json", bad.replace(at, from.size(), to));
    expect_message(message_of<DataError>([&] { read_pair_sidecar(options_.out); }), parts);
  };
  refused("\"version\": 1", "\"version\": 2", {"set.json", "'version' is 2"});
  refused("\"pad\": ", "\"pad\": 9", {"set.json", "'pad'", "id of the vocabulary"});
  refused("\"bos\": ", "\"boss\": ", {"set.json", "boss"});
  refused("\"pairs\": 40", "\"pairs\": 0", {"splits.train", "'pairs' is 0"});
  refused("\"pairs\": 40", "\"pairs\": 4000", {"splits.train.source", "'tokens'"});
  refused("\"longest\": ", "\"longest\": -", {"splits.train.source", "'longest'"});
  refused("dagpam pair set", "dagpam pear set", {"set.json", "'format'"});
  refused("{\\\"kind", "{ \\\"kind", {"set.json", "the file is damaged"});
}

}  // namespace
}  // namespace dagpam::data

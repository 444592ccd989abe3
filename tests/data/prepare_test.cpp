#include "data/prepare.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <map>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_dataset.h"
#include "data/tokenizer.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

const std::string kShared = DAGPAM_SOURCE_DIR "/../shared/data/";
const std::string kAccented = "\xC3\xA9";

PrepareOptions options_of(const ScratchFolder& folder, const std::string& tokenizer) {
  PrepareOptions options;
  options.train = {folder / "train.txt"};
  options.valid = {folder / "valid.txt"};
  options.tokenizer = tokenizer;
  options.out = folder / "set";
  options.progress = nullptr;
  return options;
}

std::vector<int32_t> ids_of(const std::string& prefix, const std::string& split) {
  const auto dataset = open_dataset(split_path(prefix, split));
  std::vector<int64_t> ids(static_cast<size_t>(dataset->tokens()));
  dataset->read(0, ids, read_sidecar(prefix).vocab_size);
  return {ids.begin(), ids.end()};
}

std::string text_of(const std::string& prefix, const std::string& split) {
  return tokenizer_from_json(read_sidecar(prefix).tokenizer_json)->decode(ids_of(prefix, split));
}

std::map<std::string, std::string> contents(const ScratchFolder& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const bool is_file = entry.is_regular_file();
    files[entry.path().filename().string()] =
        is_file ? read_bytes(entry.path().string()) : "folder";
  }
  return files;
}

TEST(PrepareTest, TextComesBackFromTheFilesAlone) {
  const ScratchFolder folder;
  const std::string train = "in the beginning\nwas " + kAccented + " \n",
                    valid = "the " + kAccented;
  write_bytes(folder / "train.txt", train);
  write_bytes(folder / "valid.txt", valid);
  const Sidecar made = prepare(options_of(folder, "char"));
  EXPECT_EQ(folder.names(),
            (std::set<std::string>{"train.txt", "valid.txt", "set.json", "set.train.bin",
                                   "set.train.idx", "set.valid.bin", "set.valid.idx"}));
  EXPECT_EQ(text_of(folder / "set", "train"), train);
  EXPECT_EQ(text_of(folder / "set", "valid"), valid);

  const Sidecar read = read_sidecar(folder / "set");
  EXPECT_EQ(read.train_tokens, 24);
  EXPECT_EQ(read.train_characters, 24);
  EXPECT_EQ(read.train_bytes, 25);
  EXPECT_EQ(read.valid_characters, 5);
  EXPECT_EQ(read.valid_bytes, 6);
  EXPECT_EQ(read.test_tokens, -1);
  EXPECT_EQ(read.vocab_size, 13);
  EXPECT_EQ(read.tokenizer_digest, made.tokenizer_digest);
  ASSERT_EQ(read.sources.size(), 2u);
  EXPECT_EQ(read.sources[1].name, folder / "valid.txt");
  EXPECT_EQ(read.sources[1].digest, xxh3_hex(valid));
}

TEST(PrepareTest, EachTrainingFileIsADocument) {
  const ScratchFolder folder;
  write_bytes(folder / "a", "a b\n");
  write_bytes(folder / "b", "c a");
  PrepareOptions options = options_of(folder, "word");
  options.train = {folder / "a", folder / "b"};
  options.valid.clear();
  prepare(options);
  const auto dataset = open_dataset(folder / "set.train");
  EXPECT_EQ(
      std::vector<int64_t>(dataset->document_starts().begin(), dataset->document_starts().end()),
      (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(ids_of(folder / "set", "train"), (std::vector<int32_t>{0, 1, 2, 3, 0, 2}));
}

TEST(PrepareTest, LongTextsAreEncodedAsAWhole) {
  const ScratchFolder folder;
  std::string text;
  for (int i = 0; text.size() < 3'500'000; ++i) {
    text += kAccented + kAccented + " w" + std::to_string(i % 50) + (i % 9 == 0 ? "\n" : " ");
  }
  write_bytes(folder / "train.txt", text);
  write_bytes(folder / "valid.txt", text);
  for (const std::string spec : {"byte", "char", "word"}) {
    prepare(options_of(folder, spec));
    std::vector<int32_t> whole;
    make_tokenizer(spec, text)->encode(text, whole);
    EXPECT_EQ(ids_of(folder / "set", "train"), whole) << spec;
    EXPECT_EQ(ids_of(folder / "set", "valid"), whole) << spec;
  }
  // A refusal in the fourth piece says where in the file it is.
  write_bytes(folder / "valid.txt", text + "\nw1 \xE2\x82\xAC");
  const auto lines = std::count(text.begin(), text.end(), '\n');
  expect_message(message_of<DataError>([&] { prepare(options_of(folder, "char")); }),
                 {folder / "valid.txt", "U+20AC", "byte " + std::to_string(text.size() + 4),
                  "(line " + std::to_string(lines + 2) + ", column 4)"});
}

TEST(PrepareTest, BytesTakeAnyText) {
  const ScratchFolder folder;
  write_bytes(folder / "train.txt", "a\xFF\x80");
  write_bytes(folder / "valid.txt", kAccented);
  const Sidecar made = prepare(options_of(folder, "byte"));
  EXPECT_EQ(made.train_characters, -1);  // not UTF-8: nobody knows
  EXPECT_EQ(made.valid_characters, 1);
  EXPECT_EQ(text_of(folder / "set", "train"), "a\xFF\x80");
}

TEST(PrepareTest, WideVocabulariesGetWideTokens) {
  const ScratchFolder folder;
  for (const int words : {65'498, 65'499}) {  // and <eos>
    std::string text;
    for (int i = 0; i < words; ++i) text += std::to_string(i) + " ";
    write_bytes(folder / "train.txt", text);
    write_bytes(folder / "valid.txt", "7 8");
    prepare(options_of(folder, "word"));
    EXPECT_EQ(read_bytes(folder / "set.valid.bin").size(), words == 65'498 ? 6u : 12u);
    EXPECT_EQ(text_of(folder / "set", "valid"), "7 8\n");
  }
}

TEST(PrepareTest, ANewDataSetReplacesTheOldOneWhole) {
  const ScratchFolder folder;
  write_bytes(folder / "train.txt", "abc");
  write_bytes(folder / "valid.txt", "ab");
  PrepareOptions options = options_of(folder, "char");
  options.test = {folder / "valid.txt"};
  prepare(options);
  EXPECT_TRUE(folder.names().contains("set.test.bin"));
  write_bytes(folder / "train.txt", "abcdef");
  options.test.clear();
  prepare(options);
  EXPECT_FALSE(folder.names().contains("set.test.bin"));
  EXPECT_FALSE(folder.names().contains("set.test.idx"));
  EXPECT_EQ(text_of(folder / "set", "train"), "abcdef");
}

// Each case is refused with the right type and message, and a data set of that name stays as it
// was.
class PrepareRefusalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_bytes(folder_ / "train.txt", "abc \n");
    write_bytes(folder_ / "valid.txt", "ab");
    write_bytes(folder_ / "empty.txt", "");
    std::filesystem::create_directory(folder_ / "folder");
    prepare(options_of(folder_, "char"));
    options_ = options_of(folder_, "char");
  }

  template <typename ErrorType>
  void expect_refused(std::initializer_list<std::string> parts) {
    const auto before = contents(folder_);
    expect_message(message_of<ErrorType>([this] { prepare(options_); }), parts);
    EXPECT_EQ(contents(folder_), before);
    options_ = options_of(folder_, "char");
  }

  ScratchFolder folder_;
  PrepareOptions options_;
};

TEST_F(PrepareRefusalTest, BadTexts) {
  options_.train = {folder_ / "none.txt"};
  expect_refused<DataError>({folder_ / "none.txt", "No such file"});
  options_.valid = {folder_ / "folder"};
  expect_refused<DataError>({folder_ / "folder", "is a folder"});
  options_.valid = {"/dev/zero"};
  expect_refused<DataError>({"/dev/zero", "no regular file"});
  options_.train = {folder_ / "train.txt", folder_ / "empty.txt"};
  expect_refused<DataError>({folder_ / "empty.txt", "empty text"});
  write_bytes(folder_ / "valid.txt", "ab\n\xFF");
  expect_refused<DataError>(
      {folder_ / "valid.txt", "0xFF", "byte 3 (line 2, column 1)", "not UTF-8"});
  write_bytes(folder_ / "valid.txt", "ab\ncX");
  expect_refused<DataError>({folder_ / "valid.txt", "'X' (U+0058)", "byte 4 (line 2, column 2)"});
  options_.tokenizer = "word";
  expect_refused<DataError>({folder_ / "valid.txt", "\"ab\"", "byte 0", "<unk>"});
}

TEST_F(PrepareRefusalTest, BadOptions) {
  options_.train.clear();
  expect_refused<ConfigError>({"--train"});
  options_.tokenizer = "bpe";
  expect_refused<ConfigError>({"'bpe'", "byte, char, word, gpt2:DIR"});
  options_.tokenizer = "gpt2:" + folder_.path();
  expect_refused<DataError>({"encoder.json"});
  options_.out = folder_ / "train.txt/set";
  expect_refused<IoError>({folder_ / "train.txt", "cannot be made"});
  options_.out = "";
  expect_refused<ConfigError>({"--out ''"});
  options_.out = folder_ / "folder/";
  expect_refused<ConfigError>({"--out"});
  std::filesystem::create_directory(folder_ / "other.valid.idx");
  options_.out = folder_ / "other";
  expect_refused<IoError>({folder_ / "other.valid.idx", "is a folder"});
}

TEST_F(PrepareRefusalTest, AnOutputThatIsAnInput) {
  write_bytes(folder_ / "text.json", "abc");
  options_.train = {folder_ / "text.json"};
  options_.out = folder_ / "text";
  expect_refused<ConfigError>({folder_ / "text.json", "--out"});
  options_.valid = {folder_ / "folder/../set.train.idx"};
  expect_refused<ConfigError>({"set.train.idx", "--out"});
}

// A limit on file sizes stands for a disk that is full: while tokens are written, or (62 bytes are
// a whole .idx) the description.
TEST_F(PrepareRefusalTest, FullDisk) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  for (const size_t characters : {size_t{10}, size_t{100'000}}) {
    write_bytes(folder_ / "train.txt", std::string(characters, 'a') + "bc");
    for (const rlim_t bytes : {1, 10, 61, 62, 150, 600}) {
      const auto before = contents(folder_);
      const rlimit limit{bytes, old.rlim_max};
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
      const auto message = message_of<IoError>([this] { prepare(options_); });
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
      expect_message(message, {folder_.path(), "File too large"});
      EXPECT_EQ(contents(folder_), before) << bytes;
    }
  }
  prepare(options_);
  EXPECT_EQ(read_sidecar(folder_ / "set").train_tokens, 100'002);
}

TEST_F(PrepareRefusalTest, GivingUpChangesNothing) {
  write_bytes(folder_ / "train.txt", std::string(3 << 20, 'a') + "bc");
  const auto before = contents(folder_);
  int asked = 0;
  options_.give_up = [&] { return ++asked == 3; };  // in the middle of the text
  expect_message(message_of<Interrupted>([this] { prepare(options_); }), {"set", "a signal"});
  EXPECT_EQ(contents(folder_), before);
  options_.give_up = [] { return false; };
  EXPECT_EQ(prepare(options_).train_tokens, (3 << 20) + 2);
}

struct KnownCounts {
  std::string train, valid, test;
  int64_t tokens[3];
  int64_t vocabulary;
};

void expect_counts(const KnownCounts& known) {
  if (!std::filesystem::exists(kShared + known.train)) {
    GTEST_SKIP() << kShared + known.train << " is absent";
  }
  const ScratchFolder folder;
  PrepareOptions options;
  options.train = {kShared + known.train};
  options.valid = {kShared + known.valid};
  options.test = {kShared + known.test};
  options.tokenizer = "word";
  options.out = folder / "set";
  const Sidecar made = prepare(options);
  EXPECT_EQ(made.train_tokens, known.tokens[0]);
  EXPECT_EQ(made.valid_tokens, known.tokens[1]);
  EXPECT_EQ(made.test_tokens, known.tokens[2]);
  EXPECT_EQ(made.vocab_size, known.vocabulary);
}

TEST(PrepareTest, PublishedCountsOfPtb) {
  expect_counts({"ptb/ptb.train.txt",
                 "ptb/ptb.valid.txt",
                 "ptb/ptb.test.txt",
                 {929'589, 73'760, 82'430},
                 10'000});
}

TEST(PrepareTest, PublishedCountsOfWikiText2) {
  expect_counts({"wikitext-2/train.txt",
                 "wikitext-2/valid.txt",
                 "wikitext-2/test.txt",
                 {2'088'628, 217'646, 245'569},
                 33'278});
}

}  // namespace
}  // namespace dagpam::data

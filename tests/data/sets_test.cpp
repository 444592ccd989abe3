// Merging, splitting and importing data sets.
#include <gtest/gtest.h>

#include <algorithm>

#include "configs/errors.h"
#include "data/import_set.h"
#include "data/indexed_dataset.h"
#include "data/indexed_writer.h"
#include "data/merge_sets.h"
#include "data/prepare.h"
#include "data/split_set.h"
#include "data/verify.h"
#include "scratch_folder.h"
#include "toy_gpt2.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int64_t>;
using Documents = std::vector<Ids>;
const std::function<void()> kNoCheck = [] {};

Documents documents_of(const std::string& path) {
  const auto dataset = open_dataset(path);
  Documents documents;
  const auto starts = dataset->document_starts();
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t end = i + 1 < starts.size() ? starts[i + 1] : dataset->tokens();
    documents.emplace_back(static_cast<size_t>(end - starts[i]));
    dataset->read(starts[i], documents.back(), INT32_MAX);
  }
  return documents;
}

class SetsTest : public ::testing::Test {
 protected:
  // A set of line documents; valid is its first `valid` lines.
  std::string prepared(const std::string& name, const std::string& text, const std::string& valid,
                       const std::string& tokenizer = "byte") {
    PrepareOptions options;
    write_bytes(folder_ / (name + ".txt"), text);
    write_bytes(folder_ / (name + ".valid.txt"), valid);
    options.train = {folder_ / (name + ".txt")};
    if (!valid.empty()) options.valid = {folder_ / (name + ".valid.txt")};
    options.tokenizer = tokenizer;
    options.documents.form = DocumentForm::kLine;
    options.out = folder_ / name;
    options.progress = nullptr;
    prepare(options);
    return options.out;
  }

  // Documents without a description, as another program writes them.
  std::string foreign(const std::string& name, const std::vector<std::vector<int32_t>>& documents,
                      TokenWidth width, int64_t longest = INT32_MAX) {
    IndexedWriter writer(folder_ / (name + ".train"), width, longest);
    for (const auto& ids : documents) writer.add_document(ids);
    writer.finish();
    return folder_ / name;
  }

  static std::string both(const std::string& path) {
    return read_bytes(path + ".bin") + read_bytes(path + ".idx");
  }

  ScratchFolder folder_;
};

TEST_F(SetsTest, MergeKeepsDocumentsAndAddsUp) {
  const std::string a = prepared("a", "one\ntwo\n", "v\n"), b = prepared("b", "three\n", "");
  const Sidecar made = merge_sets({a, b, a}, folder_ / "out", kNoCheck);
  EXPECT_TRUE(verify_dataset(folder_ / "out").good());
  const auto expected = prepared("whole", "one\ntwo\nthree\none\ntwo\n", "v\nv\n");
  EXPECT_EQ(both(folder_ / "out.train"), both(expected + ".train"));
  EXPECT_EQ(both(folder_ / "out.valid"), both(expected + ".valid"));
  EXPECT_EQ(made.train_bytes, 17);
  EXPECT_EQ(made.train_characters, 17);
  EXPECT_EQ(made.test_tokens, -1);
  EXPECT_EQ(made.sources.size(), 5u);
  EXPECT_EQ(made.train_digest, read_sidecar(expected).train_digest);
}

TEST_F(SetsTest, MergeOfForeignSetsTakesTheWidestTokens) {
  const std::string narrow = foreign("narrow", {{1, 2}, {3}}, TokenWidth::kU16);
  const std::string wide = foreign("wide", {{70'000}, {4, 5, 6}}, TokenWidth::kI32, 2);
  merge_sets({narrow, narrow}, folder_ / "same", kNoCheck);
  EXPECT_EQ(std::filesystem::file_size(folder_ / "same.train.bin"), 12u);
  merge_sets({narrow, wide}, folder_ / "out", kNoCheck);
  EXPECT_EQ(documents_of(folder_ / "out.train"), (Documents{{1, 2}, {3}, {70'000}, {4, 5, 6}}));
  EXPECT_EQ(std::filesystem::file_size(folder_ / "out.train.bin"), 28u);
  EXPECT_FALSE(folder_.names().contains("out.json"));
}

TEST_F(SetsTest, MergeRefuses) {
  const std::string a = prepared("a", "one\n", ""), c = prepared("c", "two\n", "", "char");
  const std::string bare = foreign("bare", {{1}}, TokenWidth::kU16);
  const auto before = folder_.names();
  const auto refused = [&](const std::vector<std::string>& sets, const std::string& out) {
    return message_of<Error>([&] { merge_sets(sets, folder_ / out, kNoCheck); });
  };
  expect_message(refused({a, c}, "out"), {c + ".json", "digest", a + ".json"});
  expect_message(refused({a, bare}, "out"), {bare + ".json", "is not there"});
  expect_message(refused({bare, a}, "out"), {bare + ".json", "is not there"});
  expect_message(refused({a, folder_ / "none"}, "out"), {folder_ / "none", ".train.idx"});
  expect_message(refused({bare, bare}, "bare"), {"would replace the input"});
  expect_message(refused({a, a}, "a"), {"would replace the input"});
  expect_message(refused({}, "out"), {"no set given"});
  write_bytes(folder_ / "a.train.bin", "on");
  expect_message(refused({a}, "out"), {"a.train.idx"});
  EXPECT_EQ(folder_.names(), before);
}

TEST_F(SetsTest, PartsInOrderMergeToTheWhole) {
  std::string text;
  for (int i = 0; i < 101; ++i) text += "line " + std::to_string(i * i) + "\n";
  const std::string whole = prepared("whole", text, "");
  const auto counts =
      split_set({whole,
                 "train",
                 {parse_split_part(folder_ / "p=0.7"), parse_split_part(folder_ / "q=0.2"),
                  parse_split_part(folder_ / "p:valid=0.1")},
                 {},
                 kNoCheck});
  ASSERT_EQ(counts.size(), 3u);
  EXPECT_EQ(counts[0].documents, 71);
  EXPECT_EQ(counts[1].documents, 20);
  EXPECT_EQ(counts[2].documents, 10);
  for (const std::string name : {"p", "q"}) EXPECT_TRUE(verify_dataset(folder_ / name).good());
  EXPECT_EQ(read_sidecar(folder_ / "p").valid_tokens, counts[2].tokens);
  // The last part is a validation split: read as training data to merge it behind the others.
  std::filesystem::create_directory(folder_ / "r");
  for (const std::string extension : {".bin", ".idx"}) {
    for (const std::string part : {"p.train", "q.train"}) {
      std::filesystem::copy(folder_ / (part + extension), folder_ / ("r/" + part + extension));
    }
    std::filesystem::copy(folder_ / ("p.valid" + extension), folder_ / ("r/v.train" + extension));
  }
  merge_sets({folder_ / "r/p", folder_ / "r/q", folder_ / "r/v"}, folder_ / "again", kNoCheck);
  EXPECT_EQ(both(folder_ / "again.train"), both(whole + ".train"));
}

TEST_F(SetsTest, DrawnPartsAreThoseOfTheSeed) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += std::to_string(i) + "\n";
  const std::string whole = prepared("whole", text, "");
  const auto drawn = [&](uint64_t seed) {
    split_set({whole,
               "train",
               {parse_split_part(folder_ / "p=0.75"), parse_split_part(folder_ / "p:valid=0.25")},
               seed,
               kNoCheck});
    return documents_of(folder_ / "p.valid");
  };
  const Documents first = drawn(1), other = drawn(2);
  EXPECT_EQ(first.size(), 100u);
  EXPECT_NE(first, other);
  EXPECT_EQ(drawn(1), first);
  Documents all = documents_of(folder_ / "p.train");
  EXPECT_EQ(all.size(), 300u);
  all.insert(all.end(), first.begin(), first.end());
  Documents expected = documents_of(whole + ".train");
  // Within a part documents keep their order.
  const auto place = [&](const Ids& document) {
    return std::find(expected.begin(), expected.end(), document) - expected.begin();
  };
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end(),
                             [&](const Ids& a, const Ids& b) { return place(a) < place(b); }));
  std::sort(all.begin(), all.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(all, expected);
}

TEST_F(SetsTest, SplitRefuses) {
  const std::string whole = prepared("whole", "a\nb\nc\n", "");
  const auto refused = [&](const std::vector<std::string>& parts) {
    return message_of<Error>([&] {
      SplitOptions options{whole, "train", {}, {}, kNoCheck};
      for (const auto& part : parts) options.parts.push_back(parse_split_part(folder_ / part));
      split_set(options);
    });
  };
  const auto before = folder_.names();
  expect_message(refused({"p=0.5", "q=0.4"}), {"sum to 0.9", "expected 1"});
  expect_message(refused({"p=0.5", "p:train=0.5"}), {"p:train", "twice"});
  expect_message(refused({"p=0.9", "q=0.1"}), {"has 3 documents", "q:train"});
  expect_message(refused({"whole=0.5", "q=0.5"}), {"would replace the input"});
  for (const std::string bad : {"p", "p=", "p=x", "p=0", "p=1.5", "p=nan", "p=-1", "p=0.5x"}) {
    expect_message(refused({bad}), {"--out", "PREFIX=SHARE"});
  }
  EXPECT_EQ(folder_.names(), before);
}

class ImportTest : public SetsTest {
 protected:
  void SetUp() override {
    write_bytes(folder_ / "encoder.json", encoder_json(toy_gpt2()));
    write_bytes(folder_ / "vocab.bpe", vocab_bpe(toy_gpt2()));
    options_.tokenizer = "gpt2:" + folder_.path();
    options_.out = folder_ / "set";
    options_.check = kNoCheck;
  }

  static constexpr uint16_t kEod = 263;  // toy_gpt2's last id

  std::string raw(const std::string& name, const std::vector<uint16_t>& ids,
                  const std::string& header = "") {
    write_bytes(folder_ / name,
                header + std::string(reinterpret_cast<const char*>(ids.data()), 2 * ids.size()));
    return folder_ / name;
  }

  static std::string llmc_header(int32_t tokens) {
    return packed(int32_t{20240520}, int32_t{1}, tokens) + std::string(1024 - 12, '\0');
  }

  std::string refused() {
    const auto before = folder_.names();
    const std::string message = message_of<Error>([this] { import_set(options_); });
    EXPECT_EQ(folder_.names(), before);
    return message;
  }

  ImportOptions options_;
};

TEST_F(ImportTest, NanogptFilesWithDocumentsThatEnd) {
  options_.form = ImportForm::kNanogpt;
  options_.train = {raw("t1.bin", {1, 2, kEod, 3}), raw("t2.bin", {4, kEod, kEod, 5})};
  options_.valid = {raw("v.bin", {7})};
  const Sidecar made = import_set(options_);
  EXPECT_TRUE(verify_dataset(options_.out).good());
  EXPECT_EQ(documents_of(folder_ / "set.train"), (Documents{{1, 2, kEod, 3}, {4, kEod, kEod, 5}}));
  EXPECT_EQ(made.vocab_size, 264);
  EXPECT_EQ(made.valid_tokens, 1);
  EXPECT_EQ(made.train_bytes, -1);
  options_.documents = ImportDocuments::kAfterEod;  // and over the borders of files
  import_set(options_);
  EXPECT_EQ(documents_of(folder_ / "set.train"),
            (Documents{{1, 2, kEod}, {3, 4, kEod}, {kEod}, {5}}));
}

TEST_F(ImportTest, LlmcFilesWithDocumentsThatBegin) {
  options_.form = ImportForm::kLlmc;
  options_.train = {raw("t1.bin", {kEod, 1, 2, kEod, 3}, llmc_header(5)),
                    raw("t2.bin", {4, kEod, kEod, 5}, llmc_header(4))};
  options_.documents = ImportDocuments::kBeforeEod;
  import_set(options_);
  EXPECT_EQ(documents_of(folder_ / "set.train"),
            (Documents{{kEod, 1, 2}, {kEod, 3, 4}, {kEod}, {kEod, 5}}));
  EXPECT_TRUE(verify_dataset(options_.out).good());
}

TEST_F(ImportTest, MegatronFilesKeepTheirDocuments) {
  options_.form = ImportForm::kMegatron;
  options_.train = {foreign("a", {{1, 2, 3}, {4}}, TokenWidth::kI32, 2) + ".train"};
  import_set(options_);
  EXPECT_EQ(documents_of(folder_ / "set.train"), (Documents{{1, 2, 3}, {4}}));
  EXPECT_EQ(std::filesystem::file_size(folder_ / "set.train.bin"), 8u);  // now u16
}

TEST_F(ImportTest, BadFilesAndOptionsAreRefused) {
  options_.form = ImportForm::kNanogpt;
  write_bytes(folder_ / "odd.bin", "abc");
  options_.train = {folder_ / "odd.bin"};
  expect_message(refused(), {"odd.bin", "3 bytes", "even"});
  options_.train = {raw("big.bin", {1, 264})};
  expect_message(refused(), {"big.bin", "token 1 has id 264", "0 to 263"});
  options_.form = ImportForm::kLlmc;
  expect_message(refused(), {"big.bin", "llm.c's header"});
  options_.train = {raw("lie.bin", {1, 2}, llmc_header(3))};
  expect_message(refused(), {"lie.bin", "the number of tokens is 3", "2 in a file"});
  options_.form = ImportForm::kMegatron;
  expect_message(refused(), {"without .bin and .idx"});
  options_.train = {folder_ / "none"};
  expect_message(refused(), {"none.bin"});
  options_.tokenizer = "char";
  expect_message(refused(), {"--tokenizer 'char'", "its own"});
  options_.tokenizer = "byte";
  options_.documents = ImportDocuments::kAfterEod;
  expect_message(refused(), {"--documents", "end-of-text"});
  options_.train.clear();
  expect_message(refused(), {"--train"});
}

}  // namespace
}  // namespace dagpam::data

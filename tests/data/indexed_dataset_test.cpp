#include "data/indexed_dataset.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <vector>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_writer.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;
using Tokens = std::vector<int64_t>;

const std::string kMagic("MMIDIDX\0\0", 9);

Tokens read(const TokenDataset& dataset, int64_t offset, size_t count, int64_t vocab = INT64_MAX) {
  Tokens out(count);
  dataset.read(offset, out, vocab);
  return out;
}

std::string write_data(const std::string& path, const Ids& ids) {
  IndexedWriter writer(path, TokenWidth::kU16);
  writer.add_document(ids);
  writer.finish();
  return writer.digest();
}

// One document of three tokens of any type.
template <typename Token>
void write_megatron(const std::string& path, uint8_t code, Token a, Token b, Token c) {
  write_bytes(path + ".bin", packed(a, b, c));
  write_bytes(path + ".idx", kMagic + packed(uint64_t{1}, code, uint64_t{1}, uint64_t{2},
                                             int32_t{3}, int64_t{0}, int64_t{0}, int64_t{1}));
}

std::string llmc_header(int32_t magic, int32_t version, int32_t tokens) {
  return packed(magic, version, tokens) + std::string(1024 - 12, '\0');
}

TEST(IndexedDatasetTest, ReadsAnyRangeOfWhatWasWritten) {
  const ScratchFolder folder;
  Ids ids(20'000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 65'000);
  IndexedWriter writer(folder / "a", TokenWidth::kU16);
  const std::span<const int32_t> all(ids);
  writer.add_document(all.first(7'000));
  writer.add_document(all.subspan(7'000));
  writer.finish();
  const auto dataset = open_dataset(folder / "a");
  ASSERT_EQ(dataset->tokens(), 20'000);
  EXPECT_EQ(Tokens(dataset->document_starts().begin(), dataset->document_starts().end()),
            (Tokens{0, 7'000}));
  for (const auto& [offset, count] :
       {std::pair<int64_t, size_t>{0, 20'000}, {1, 19'999}, {4'095, 4'098}, {19'999, 1}, {5, 0}}) {
    const Tokens got = read(*dataset, offset, count);
    EXPECT_EQ(got, Tokens(ids.begin() + offset, ids.begin() + offset + std::ssize(got)));
  }
}

TEST(IndexedDatasetTest, RangesPastTheEndAreRefused) {
  const ScratchFolder folder;
  write_data(folder / "a", {1, 2, 3});
  const auto dataset = open_dataset(folder / "a");
  for (const auto& [offset, count] :
       {std::pair<int64_t, size_t>{0, 4}, {3, 1}, {-1, 1}, {INT64_MAX, 1}, {INT64_MIN, 3}}) {
    expect_message(message_of<DataError>([&] { read(*dataset, offset, count); }), {"a.bin", "3"});
  }
}

TEST(IndexedDatasetTest, EveryTokenTypeKeepsItsExtremes) {
  const ScratchFolder folder;
  write_megatron<uint8_t>(folder / "u8", 1, 0, 127, 255);
  EXPECT_EQ(read(*open_dataset(folder / "u8"), 0, 3), (Tokens{0, 127, 255}));
  write_megatron<uint16_t>(folder / "u16", 8, 0, 32768, 65535);
  EXPECT_EQ(read(*open_dataset(folder / "u16"), 0, 3), (Tokens{0, 32768, 65535}));
  write_megatron<int32_t>(folder / "i32", 4, 0, 65536, INT32_MAX);
  EXPECT_EQ(read(*open_dataset(folder / "i32"), 0, 3), (Tokens{0, 65536, INT32_MAX}));
  write_megatron<int64_t>(folder / "i64", 5, 0, int64_t{1} << 40, INT64_MAX - 1);
  EXPECT_EQ(read(*open_dataset(folder / "i64"), 0, 3),
            (Tokens{0, int64_t{1} << 40, INT64_MAX - 1}));
}

TEST(IndexedDatasetTest, IdsOutsideTheVocabularyAreNamed) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "equal", 8, 9, 10, 9);
  EXPECT_EQ(read(*open_dataset(folder / "equal"), 0, 3, 11), (Tokens{9, 10, 9}));
  expect_message(message_of<DataError>([&] { read(*open_dataset(folder / "equal"), 1, 2, 10); }),
                 {"equal.bin", "token 1", "id 10", "0 to 9"});
  write_megatron<int32_t>(folder / "negative", 4, 1, 2, -1);
  expect_message(message_of<DataError>([&] { read(*open_dataset(folder / "negative"), 0, 3); }),
                 {"negative.bin", "token 2", "id -1"});
  write_megatron<int64_t>(folder / "least", 5, INT64_MIN, 2, 3);
  expect_message(message_of<DataError>([&] { read(*open_dataset(folder / "least"), 0, 3); }),
                 {"least.bin", "token 0", "id -9223372036854775808"});
  write_bytes(folder / "u32.bin", llmc_header(20240801, 7, 2) + packed(uint32_t{1}, UINT32_MAX));
  expect_message(
      message_of<DataError>([&] { read(*open_dataset(folder / "u32.bin"), 0, 2, 1000); }),
      {"u32.bin", "token 1", "id 4294967295", "0 to 999"});
}

// At any position of a block, at its edges and in the last one.
TEST(IndexedDatasetTest, OneBadIdIsFoundAnywhere) {
  const ScratchFolder folder;
  for (const size_t at : {0, 1, 4095, 4096, 8191, 9999}) {
    Ids ids(10'000, 5);
    ids[at] = 6;
    write_data(folder / "a", ids);
    const auto dataset = open_dataset(folder / "a");
    expect_message(message_of<DataError>([&] { read(*dataset, 0, 10'000, 6); }),
                   {"token " + std::to_string(at) + " has id 6"});
    EXPECT_EQ(message_of<DataError>([&] { read(*dataset, 0, 10'000, 7); }), "");
  }
}

TEST(IndexedDatasetTest, ReadsBothKindsOfLlmcFiles) {
  const ScratchFolder folder;
  write_bytes(folder / "a.bin",
              llmc_header(20240520, 1, 3) + packed(uint16_t{50256}, uint16_t{65535}, uint16_t{0}));
  const auto narrow = open_dataset(folder / "a.bin");
  EXPECT_EQ(narrow->tokens(), 3);
  EXPECT_EQ(read(*narrow, 0, 3), (Tokens{50256, 65535, 0}));
  EXPECT_EQ(Tokens(narrow->document_starts().begin(), narrow->document_starts().end()), Tokens{0});
  write_bytes(folder / "b.bin",
              llmc_header(20240801, 7, 2) + packed(uint32_t{128000}, uint32_t{1}));
  EXPECT_EQ(read(*open_dataset(folder / "b.bin"), 0, 2), (Tokens{128000, 1}));
}

TEST(IndexedDatasetTest, LlmcHeadersAreChecked) {
  const ScratchFolder folder;
  const std::string tokens = packed(uint16_t{1}, uint16_t{2});
  struct Row {
    const char* what;
    std::string bytes;
    const char* field;
  };
  const std::vector<Row> table = {
      {"empty", "", "size is 0"},
      {"header cut", std::string(1023, '\0'), "size is 1023"},
      {"magic", llmc_header(20240519, 1, 2) + tokens, "magic number is 20240519"},
      {"evaluation file", llmc_header(20240522, 1, 2) + tokens, "magic number is 20240522"},
      {"version", llmc_header(20240520, 7, 2) + tokens, "version is 7, expected 1"},
      {"version of u32", llmc_header(20240801, 1, 1) + tokens, "version is 1, expected 7"},
      {"one less", llmc_header(20240520, 1, 1) + tokens, "number of tokens is 1, expected 2"},
      {"one more", llmc_header(20240520, 1, 3) + tokens, "number of tokens is 3, expected 2"},
      {"negative", llmc_header(20240520, 1, -1) + tokens, "number of tokens is -1, expected 2"},
      {"negative that fits", llmc_header(20240520, 1, -1), "number of tokens is -1"},
      {"largest", llmc_header(20240520, 1, INT32_MAX) + tokens, "tokens is 2147483647"},
      {"half a token", llmc_header(20240520, 1, 2) + tokens + "x", "tokens is 2, expected 2 in a"},
  };
  for (const Row& row : table) {
    SCOPED_TRACE(row.what);
    write_bytes(folder / "a.bin", row.bytes);
    expect_message(message_of<DataError>([&] { open_dataset(folder / "a.bin"); }),
                   {"a.bin", row.field, "expected"});
  }
}

TEST(IndexedDatasetTest, FileCutShortWhileOpenIsAnErrorNotASignal) {
  const ScratchFolder folder;
  write_data(folder / "a", Ids(100'000, 3));
  const auto dataset = open_dataset(folder / "a");
  EXPECT_EQ(read(*dataset, 90'000, 10).front(), 3);
  ASSERT_EQ(::truncate((folder / "a.bin").c_str(), 1000), 0);
  EXPECT_EQ(read(*dataset, 490, 10).front(), 3);
  for (const int64_t offset : {495, 90'000}) {
    expect_message(message_of<DataError>([&] { read(*dataset, offset, 10); }),
                   {"a.bin", "expected 200000 bytes", "cut short"});
  }
}

TEST(IndexedDatasetTest, ThingsThatAreNoFilesAreRefused) {
  const ScratchFolder folder;
  expect_message(message_of<DataError>([&] { open_dataset(folder / "no"); }),
                 {"no.bin", "No such file"});
  ASSERT_EQ(::mkdir((folder / "folder.bin").c_str(), 0777), 0);
  expect_message(message_of<DataError>([&] { open_dataset(folder / "folder"); }),
                 {"folder.bin", "not a regular file"});
  ASSERT_EQ(::mkfifo((folder / "pipe.bin").c_str(), 0666), 0);
  expect_message(message_of<DataError>([&] { open_dataset(folder / "pipe"); }),
                 {"pipe.bin", "not a regular file"});
}

TEST(IndexedDatasetTest, SplitPathKeepsLlmcFiles) {
  EXPECT_EQ(split_path("data/kjv", "valid"), "data/kjv.valid");
  EXPECT_EQ(split_path("data/fineweb_train_000001.bin", "train"), "data/fineweb_train_000001.bin");
}

class DatasetDigestTest : public ::testing::Test {
 protected:
  DatasetDigestTest() {
    digest_ = write_data(folder_ / "a.train", {1, 2, 3, 4});
    sidecar_.tokenizer_json = R"({"kind":"byte"})";
    sidecar_.tokenizer_digest = xxh3_hex(sidecar_.tokenizer_json);
    sidecar_.vocab_size = 256;
    sidecar_.train_tokens = 4;
    sidecar_.train_digest = digest_;
  }
  std::string opened() const { return open_dataset(folder_ / "a.train")->digest(); }

  ScratchFolder folder_;
  std::string digest_;
  Sidecar sidecar_;
};

TEST_F(DatasetDigestTest, IsTheSidecarsWhereThereIsOne) {
  write_sidecar(folder_ / "a", sidecar_);
  EXPECT_EQ(opened(), digest_);
}

TEST_F(DatasetDigestTest, ChangesWithTokensAndDocumentsWithoutSidecar) {
  const std::string first = opened();
  EXPECT_EQ(first.size(), 32u);
  EXPECT_EQ(opened(), first);
  write_data(folder_ / "a.train", {1, 2, 3, 5});
  const std::string other_token = opened();
  EXPECT_NE(other_token, first);
  IndexedWriter writer(folder_ / "a.train", TokenWidth::kU16);
  writer.add_document(Ids{1, 2});
  writer.add_document(Ids{3, 4});
  writer.finish();
  EXPECT_NE(opened(), first);
  EXPECT_NE(opened(), other_token);
}

TEST_F(DatasetDigestTest, SidecarOfOtherFilesIsRefused) {
  sidecar_.train_tokens = 5;
  write_sidecar(folder_ / "a", sidecar_);
  expect_message(message_of<DataError>([&] { opened(); }),
                 {"a.train.bin", "4 tokens", "expected 5", "a.json"});
  sidecar_.train_tokens = -1;
  write_sidecar(folder_ / "a", sidecar_);
  expect_message(message_of<DataError>([&] { opened(); }), {"a.train.bin", "no such split"});
}

}  // namespace
}  // namespace dagpam::data

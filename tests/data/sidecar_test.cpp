#include "data/sidecar.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "configs/errors.h"
#include "data/digest.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

using nlohmann::json;

const std::string kDigest(32, 'a');

Sidecar full_sidecar() {
  Sidecar sidecar;
  // Odd spacing, escapes and a character outside ASCII: kept to the byte.
  sidecar.tokenizer_json = "{\"kind\" :\"char\",  \"characters\":\"a\\n\xc3\xa9\\\"\"}";
  sidecar.tokenizer_digest = xxh3_hex(sidecar.tokenizer_json);
  sidecar.vocab_size = 65;
  sidecar.train_tokens = 5'000'000'000;
  sidecar.valid_tokens = 0;
  sidecar.train_bytes = 12;
  sidecar.valid_bytes = 13;
  sidecar.valid_characters = 14;
  sidecar.train_digest = kDigest;
  sidecar.sources = {{"train", "a b.txt", 7, kDigest},
                     {"train", "c.txt", 5, kDigest},
                     {"valid", "d.txt", 13, kDigest}};
  return sidecar;
}

TEST(SidecarTest, ComesBackAsItWasWritten) {
  const ScratchFolder folder;
  const Sidecar written = full_sidecar();
  write_sidecar(folder / "a", written);
  const Sidecar got = read_sidecar(folder / "a");
  EXPECT_EQ(got.tokenizer_json, written.tokenizer_json);
  EXPECT_EQ(got.tokenizer_digest, written.tokenizer_digest);
  EXPECT_EQ(got.vocab_size, 65);
  EXPECT_EQ(got.train_tokens, 5'000'000'000);
  EXPECT_EQ(got.valid_tokens, 0);
  EXPECT_EQ(got.test_tokens, -1);
  EXPECT_EQ(got.train_bytes, 12);
  EXPECT_EQ(got.train_characters, -1);
  EXPECT_EQ(got.valid_bytes, 13);
  EXPECT_EQ(got.valid_characters, 14);
  EXPECT_EQ(got.train_digest, kDigest);
  EXPECT_EQ(got.valid_digest, "");
  ASSERT_EQ(got.sources.size(), 3u);
  EXPECT_EQ(got.sources[1].name, "c.txt");
  EXPECT_EQ(got.sources[1].bytes, 5);
  EXPECT_EQ(got.sources[2].split, "valid");
  EXPECT_EQ(folder.names(), std::set<std::string>{"a.json"});
}

TEST(SidecarTest, OddFileNamesAreMadePrintable) {
  const ScratchFolder folder;
  Sidecar sidecar = full_sidecar();
  sidecar.sources[0].name = "a\xff.txt";
  write_sidecar(folder / "a", sidecar);
  EXPECT_EQ(read_sidecar(folder / "a").sources[0].name, "a\xef\xbf\xbd.txt");
}

TEST(SidecarTest, MissingFile) {
  const ScratchFolder folder;
  EXPECT_FALSE(find_sidecar(folder / "a").has_value());
  expect_message(message_of<DataError>([&] { read_sidecar(folder / "a"); }),
                 {"a.json", "No such file"});
}

TEST(SidecarTest, NothingIsWrittenThatCannotBeRead) {
  const ScratchFolder folder;
  Sidecar sidecar = full_sidecar();
  sidecar.vocab_size = 0;
  expect_message(message_of<DataError>([&] { write_sidecar(folder / "a", sidecar); }),
                 {"a.json", "vocab_size", "0"});
  sidecar = full_sidecar();
  sidecar.tokenizer_digest = kDigest;
  expect_message(message_of<DataError>([&] { write_sidecar(folder / "a", sidecar); }),
                 {"a.json", "tokenizer", kDigest});
  sidecar = full_sidecar();
  sidecar.tokenizer_json = "\xff";
  expect_message(message_of<DataError>([&] { write_sidecar(folder / "a", sidecar); }),
                 {"a.json", "UTF-8"});
  sidecar = full_sidecar();
  sidecar.train_digest = "ABC";
  expect_message(message_of<DataError>([&] { write_sidecar(folder / "a", sidecar); }),
                 {"a.json", "splits.train", "digest", "ABC"});
  EXPECT_TRUE(folder.names().empty());
}

TEST(SidecarTest, EveryKeyIsChecked) {
  const ScratchFolder folder;
  write_sidecar(folder / "a", full_sidecar());
  const json good = json::parse(read_bytes(folder / "a.json"));
  struct Row {
    const char* pointer;  // what is changed
    json value;           // null: taken away
    const char* field;    // in the message
  };
  const std::vector<Row> table = {
      {"/format", nullptr, "format"},
      {"/format", "other", "format"},
      {"/format", 3, "format"},
      {"/version", nullptr, "version"},
      {"/version", 2, "version"},
      {"/version", "1", "version"},
      {"/vocab_size", nullptr, "vocab_size"},
      {"/vocab_size", -5, "vocab_size"},
      {"/vocab_size", 65.0, "vocab_size"},
      {"/vocab_size", 18446744073709551615u, "vocab_size"},
      {"/vocab_size", true, "vocab_size"},
      {"/tokenizer", nullptr, "tokenizer"},
      {"/tokenizer", json::object(), "tokenizer"},
      {"/tokenizer", "{}", "tokenizer"},
      {"/tokenizer_digest", nullptr, "tokenizer_digest"},
      {"/tokenizer_digest", std::string(32, 'A'), "tokenizer_digest"},
      {"/splits", nullptr, "splits"},
      {"/splits", json::array(), "splits"},
      {"/splits/extra", json::object(), "extra"},
      {"/splits/train", 1, "splits.train"},
      {"/splits/train/tokens", nullptr, "tokens"},
      {"/splits/train/tokens", -1, "tokens"},
      {"/splits/train/bytes", "12", "bytes"},
      {"/splits/train/characters", -1, "characters"},
      {"/splits/train/digest", "aa", "digest"},
      {"/splits/train/sources", 1, "sources"},
      {"/splits/train/sources/0", 1, "sources"},
      {"/splits/train/sources/0/name", 1, "name"},
      {"/splits/train/sources/0/bytes", nullptr, "bytes"},
      {"/splits/train/sources/0/digest", "", "digest"},
      {"/splits/train/sources/0/extra", 1, "extra"},
      {"/splits/train/extra", 1, "extra"},
      {"/extra", 1, "extra"},
  };
  for (const Row& row : table) {
    SCOPED_TRACE(std::string(row.pointer) + " = " + row.value.dump());
    json changed = good;
    const json::json_pointer pointer(row.pointer);
    if (row.value.is_null()) {
      changed[pointer.parent_pointer()].erase(pointer.back());
    } else {
      changed[pointer] = row.value;
    }
    write_bytes(folder / "b.json", changed.dump());
    expect_message(message_of<DataError>([&] { read_sidecar(folder / "b"); }),
                   {"b.json", row.field});
  }
}

TEST(SidecarTest, TextThatIsNoJsonObject) {
  const ScratchFolder folder;
  for (const std::string& text :
       {std::string(""), std::string("[]"), std::string("{"), std::string("{\"a\":\"\xff\"}"),
        std::string(100'000, '['), std::string("{\"format\":1,\"format\":1}")}) {
    write_bytes(folder / "a.json", text);
    expect_message(message_of<DataError>([&] { read_sidecar(folder / "a"); }), {"a.json"});
  }
}

}  // namespace
}  // namespace dagpam::data

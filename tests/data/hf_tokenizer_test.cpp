#include "data/hf_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "data/digest.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

TEST(HfTokenizerTest, ATextIsItsIds) {
  const HfTokenizer tokenizer(R"({"version":"1.0"})", 300, 2);
  std::vector<int32_t> ids;
  tokenizer.encode(" 0 299\n17\t3 ", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 299, 17, 3}));
  EXPECT_EQ(tokenizer.decode(ids), "0 299 17 3");
  EXPECT_EQ(tokenizer.end_of_text(), 2);
  for (const std::string bad : {"300", "-1", "1.5", "hello", "99999999999", "1x"}) {
    expect_message(message_of<DataError>([&] { tokenizer.encode("7 " + bad, ids); }),
                   {"\"" + bad + "\"", "byte 2", "0 to 299", "launch/prepare_hf"});
  }
}

TEST(HfTokenizerTest, ComesBackFromItsDescription) {
  const HfTokenizer tokenizer("{\"a\": \"\xC3\xA9\"}", 7, -1);
  const auto again = tokenizer_from_json(tokenizer.to_json());
  EXPECT_EQ(again->kind(), "hf");
  EXPECT_EQ(again->vocab_size(), 7);
  EXPECT_EQ(again->to_json(), tokenizer.to_json());
  const auto refused = [](const char* field, const nlohmann::json& value) {
    nlohmann::json object{
        {"kind", "hf"}, {"vocab_size", 7}, {"end_of_text", 6}, {"tokenizer_json", "{}"}};
    object[field] = value;
    return message_of<DataError>([&] { tokenizer_from_json(object.dump()); });
  };
  expect_message(refused("vocab_size", 0), {"vocab_size"});
  expect_message(refused("vocab_size", int64_t{1} << 40), {"vocabulary size"});
  expect_message(refused("end_of_text", 7), {"end_of_text", "to 6"});
  expect_message(refused("tokenizer_json", 5), {"tokenizer_json"});
  expect_message(refused("more", 1), {"more"});
}

// --tokenizer json:FILE takes a description, or a data set's.
TEST(HfTokenizerTest, OfAFile) {
  const ScratchFolder folder;
  const std::string description = R"({"kind":"byte"})";
  write_bytes(folder / "t.json", description);
  EXPECT_EQ(make_tokenizer("json:" + (folder / "t.json"), "")->kind(), "byte");
  nlohmann::json set{{"format", "dagpam data set"}, {"vocab_size", 256}};
  set["tokenizer"] = description;
  set["tokenizer_digest"] = xxh3_hex(description);
  write_bytes(folder / "set.json", set.dump());
  EXPECT_EQ(make_tokenizer("json:" + (folder / "set.json"), "")->kind(), "byte");
  for (const std::string bad : {"", "[]", "{\"kind\": \"none\"}", "{}", "{\"tokenizer\": 1}"}) {
    write_bytes(folder / "bad.json", bad);
    expect_message(
        message_of<DataError>([&] { make_tokenizer("json:" + (folder / "bad.json"), ""); }),
        {folder / "bad.json"});
  }
}

}  // namespace
}  // namespace dagpam::data

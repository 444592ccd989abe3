// A tokenizer made again from its description: the copy in a checkpoint is all that decoding needs.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "data/gpt2_tokenizer.h"
#include "data/tokenizer.h"
#include "scratch_folder.h"
#include "toy_gpt2.h"

namespace dagpam::data {
namespace {

const std::string kText = "the \"cat\" \\ <unk>\n\xC3\xA9t\xC3\xA9 \xF0\x9F\x98\x80 \x01 'll\n";

void expect_same(const Tokenizer& tokenizer) {
  const std::string json = tokenizer.to_json();
  const auto again = tokenizer_from_json(json);
  std::vector<int32_t> ids, ids_again;
  tokenizer.encode(kText, ids);
  again->encode(kText, ids_again);
  EXPECT_EQ(again->kind(), tokenizer.kind());
  EXPECT_EQ(again->vocab_size(), tokenizer.vocab_size());
  EXPECT_EQ(again->end_of_text(), tokenizer.end_of_text());
  EXPECT_EQ(ids_again, ids);
  EXPECT_EQ(again->decode(ids), tokenizer.decode(ids));
  EXPECT_EQ(again->to_json(), json);
  EXPECT_EQ(again->digest(), tokenizer.digest());
}

TEST(TokenizerJsonTest, RoundTrips) {
  for (const std::string spec : {"byte", "char", "word"}) expect_same(*make_tokenizer(spec, kText));
  expect_same(Gpt2Tokenizer(toy_gpt2()));
}

TEST(TokenizerJsonTest, PublishedVocabularyRoundTrips) {
  const std::string folder = DAGPAM_SOURCE_DIR "/../shared/data/gpt2_bpe";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  expect_same(*make_tokenizer("gpt2:" + folder, ""));
}

TEST(TokenizerJsonTest, DigestSeesEverySymbol) {
  EXPECT_NE(make_tokenizer("char", "ab")->digest(), make_tokenizer("char", "ac")->digest());
  EXPECT_NE(make_tokenizer("word", "a b")->digest(), make_tokenizer("word", "b a")->digest());
  EXPECT_EQ(make_tokenizer("byte", "")->digest().size(), 32u);
  // As `printf '{"kind":"byte"}' | xxh128sum` prints it.
  EXPECT_EQ(make_tokenizer("byte", "")->digest(), "a6902474b5fe05de6cb4abf96cbbfc45");
}

TEST(TokenizerJsonTest, HostileDescriptionsAreRefused) {
  const std::string bad[] = {"",
                             "null",
                             "[]",
                             "1",
                             "{",
                             "{}",
                             "{\"kind\":1}",
                             "{\"kind\":\"spm\"}",
                             "{\"kind\":\"byte\",\"x\":1}",
                             "{\"kind\":\"byte\",\"kind\":\"char\"}",
                             "{\"kind\":\"byte\"} x",
                             "{\"kind\":\"byte\xFF\"}",
                             "{\"kind\":\"char\"}",
                             "{\"kind\":\"char\",\"characters\":\"\"}",
                             "{\"kind\":\"char\",\"characters\":[\"a\"]}",
                             "{\"kind\":\"char\",\"characters\":\"ba\"}",
                             "{\"kind\":\"char\",\"characters\":\"aa\"}",
                             "{\"kind\":\"char\",\"characters\":\"\\ud800\"}",
                             "{\"kind\":\"char\",\"characters\":\"a\",\"words\":[]}",
                             "{\"kind\":\"word\"}",
                             "{\"kind\":\"word\",\"words\":\"a\"}",
                             "{\"kind\":\"word\",\"words\":[]}",
                             "{\"kind\":\"word\",\"words\":[\"a\"]}",
                             "{\"kind\":\"word\",\"words\":[\"<eos>\",1]}",
                             "{\"kind\":\"word\",\"words\":[\"<eos>\",\"a\",\"a\"]}",
                             "{\"kind\":\"word\",\"words\":[\"<eos>\",\"\"]}",
                             "{\"kind\":\"word\",\"words\":[\"<eos>\",\"a b\"]}",
                             "{\"kind\":\"word\",\"words\":[\"<eos>\",\"a\\n\"]}",
                             "{\"kind\":\"word\",\"words\":[\"<eos>\",\"a\\u00a0b\"]}",
                             "{\"kind\":\"gpt2\",\"tokens\":[],\"merges\":[]}",
                             "{\"kind\":\"gpt2\",\"tokens\":[\"a\"]}"};
  for (const auto& json : bad) {
    const auto message = message_of<DataError>([&] { tokenizer_from_json(json); });
    EXPECT_FALSE(message.empty()) << json;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  std::string deep = "{\"kind\":";
  deep.append(1'000'000, '[');
  expect_message(message_of<DataError>([&] { tokenizer_from_json(deep); }), {"nested deeper"});
}

TEST(TokenizerJsonTest, HostileGpt2DescriptionsAreRefused) {
  const auto good = nlohmann::json::parse(Gpt2Tokenizer(toy_gpt2()).to_json());
  const auto refusal = [](const nlohmann::json& json) {
    return message_of<DataError>([&] { tokenizer_from_json(json.dump()); });
  };
  EXPECT_EQ(refusal(good), "");
  auto bad = good;
  bad["tokens"].push_back("the");
  expect_message(refusal(bad), {"\"the\"", "id 264", "twice"});
  bad = good;
  bad["tokens"].erase(65);
  expect_message(refusal(bad), {"single byte 65"});
  bad = good;
  bad["tokens"][256] = "";
  expect_message(refusal(bad), {"id 256", "empty"});
  bad = good;
  bad["merges"].push_back("ab");
  expect_message(refusal(bad), {"\"ab\"", "space between"});
  bad = good;
  bad["merges"].push_back("a b c");
  expect_message(refusal(bad), {"byte alphabet"});
  bad = good;
  bad["merges"].push_back("a b");
  expect_message(refusal(bad), {"\"a b\"", "tokens of the vocabulary"});
}

}  // namespace
}  // namespace dagpam::data

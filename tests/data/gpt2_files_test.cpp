// Good files in both spellings, and files that must be refused.
#include <gtest/gtest.h>

#include "configs/errors.h"
#include "data/tokenizer.h"
#include "scratch_folder.h"
#include "toy_gpt2.h"

namespace dagpam::data {
namespace {

std::string refusal(const std::string& encoder, const std::string& merges) {
  const ScratchFolder folder;
  write_bytes(folder / "encoder.json", encoder);
  write_bytes(folder / "vocab.bpe", merges);
  return message_of<DataError>([&] { make_tokenizer("gpt2:" + folder.path(), ""); });
}

std::string refused_encoder(const std::string& encoder) {
  return refusal(encoder, vocab_bpe(toy_gpt2()));
}

std::string refused_merges(const std::string& merges) {
  return refusal(encoder_json(toy_gpt2()), merges);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return text.replace(place, from.size(), to);
}

TEST(Gpt2FilesTest, ReadsBothSpellings) {
  const ScratchFolder folder;
  write_bytes(folder / "encoder.json", encoder_json(toy_gpt2()));
  write_bytes(folder / "vocab.bpe", vocab_bpe(toy_gpt2()));
  const auto first = make_tokenizer("gpt2:" + folder.path(), "");
  std::filesystem::rename(folder / "encoder.json", folder / "vocab.json");
  std::filesystem::rename(folder / "vocab.bpe", folder / "merges.txt");
  const auto second = make_tokenizer("gpt2:" + folder.path(), "");
  EXPECT_EQ(first->vocab_size(), 264);
  EXPECT_EQ(first->to_json(), second->to_json());
}

TEST(Gpt2FilesTest, MissingFilesAreNamed) {
  const ScratchFolder folder;
  const auto load = [&] { make_tokenizer("gpt2:" + folder.path(), ""); };
  expect_message(message_of<DataError>(load), {"encoder.json"});
  write_bytes(folder / "encoder.json", encoder_json(toy_gpt2()));
  expect_message(message_of<DataError>(load), {"vocab.bpe"});
}

TEST(Gpt2FilesTest, BadEncoders) {
  const std::string good = encoder_json(toy_gpt2());
  expect_message(refused_encoder(""), {"encoder.json", "JSON"});
  expect_message(refused_encoder("[1]"), {"JSON object"});
  expect_message(refused_encoder("{}"), {"single byte 0"});
  expect_message(refused_encoder(good.substr(0, 300)), {"bad JSON at byte"});
  expect_message(refused_encoder(good + "x"), {"bad JSON"});
  expect_message(refused_encoder("{\"a\":0,\"a\":1}"), {"\"a\"", "twice"});
  expect_message(refused_encoder("{\"a\":0,\"b\":0}"), {"id 0", "twice"});
  expect_message(refused_encoder("{\"a\":0,\"b\":2}"), {"\"b\"", "below the number of tokens, 2"});
  for (const std::string id :
       {"-1", "1.5", "1e999", "\"1\"", "null", "[0]", "{\"a\":0}", "18446744073709551616"}) {
    EXPECT_FALSE(refused_encoder("{\"a\":" + id + "}").empty()) << id;
  }
  expect_message(refused_encoder("{\"\":0}"), {"empty token"});
  expect_message(refused_encoder("{\"a\xFF\":0}"), {"0xFF", "not UTF-8"});
  expect_message(refused_encoder(replaced(good, "\"the\"", "\"t e\"")),
                 {"\"t e\"", "byte alphabet"});
  expect_message(refused_encoder(replaced(good, "\"the\"", "\"t\xE2\x82\xAC\"")),
                 {"byte alphabet"});
  expect_message(refused_encoder(std::string(1'000'000, '[')), {"nested deeper"});
  std::string nested = "{\"a\":";
  for (int i = 0; i < 100'000; ++i) nested += "{\"a\":";
  expect_message(refused_encoder(nested), {"nested deeper"});
}

TEST(Gpt2FilesTest, BadMerges) {
  const std::string good = vocab_bpe(toy_gpt2());
  for (const std::string line : {"\n", "x\n", " x\n", "x \n", "a b c\n", "a  b\n"}) {
    expect_message(refused_merges(good + line), {"vocab.bpe", "line 9", "two tokens"});
  }
  expect_message(refused_merges(good + "q q\n"), {"\"q q\"", "tokens of the vocabulary"});
  expect_message(refused_merges(good + "\xE2\x82\xAC q\n"), {"byte alphabet"});
  expect_message(refused_merges(good + "t h\n"), {"merge 7", "merge 0"});
  expect_message(refused_merges(good + "a \xFF\n"), {"not UTF-8"});
}

TEST(Gpt2FilesTest, RandomDamageNeverCrashes) {
  const std::string good = encoder_json(toy_gpt2());
  for (size_t i = 0; i < good.size(); i += 7) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    const ScratchFolder folder;
    write_bytes(folder / "encoder.json", bad);
    write_bytes(folder / "vocab.bpe", vocab_bpe(toy_gpt2()));
    try {
      make_tokenizer("gpt2:" + folder.path(), "");
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace dagpam::data

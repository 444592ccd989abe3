// `data prepare` by several peers: the same files for any number of them, and the same refusals.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>

#include "configs/errors.h"
#include "data/prepare.h"
#include "data/thread_peers.h"
#include "data/verify.h"
#include "scratch_folder.h"
#include "toy_gpt2.h"

namespace dagpam::data {
namespace {

using Files = std::map<std::string, std::string>;

// What prepare() makes of `texts` (the last of several is also the validation text) with `peers`.
class PeersTest : public ::testing::Test {
 protected:
  Files made(PrepareOptions options, const std::vector<std::string>& texts, int peers) {
    const ScratchFolder out;
    options.train.clear();
    for (size_t i = 0; i < texts.size(); ++i) {
      options.train.push_back(folder_ / std::to_string(i));
      write_bytes(options.train.back(), texts[i]);
    }
    options.valid = {options.train.back()};
    options.out = out / "set";
    options.progress = nullptr;
    Alone alone;
    run_in_threads(alone, peers, [&](Peers& each) { prepare(options, each); });
    EXPECT_TRUE(verify_dataset(options.out).good());
    Files files;
    for (const std::string& name : out.names()) files[name] = read_bytes(out / name);
    EXPECT_EQ(files.size(), 5u);
    return files;
  }

  void expect_same(const PrepareOptions& options, const std::vector<std::string>& texts) {
    const Files alone = made(options, texts, 1);
    for (const int peers : {2, 3, 7}) {
      EXPECT_TRUE(made(options, texts, peers) == alone)
          << options.tokenizer << " " << static_cast<int>(options.documents.form) << " " << peers;
    }
  }

  ScratchFolder folder_;
};

PrepareOptions with(const std::string& tokenizer, DocumentForm form = DocumentForm::kFile) {
  PrepareOptions options;
  options.tokenizer = tokenizer;
  options.documents.form = form;
  return options;
}

// Texts that borders fall into in all ways.
const std::vector<std::vector<std::string>> kTexts = {
    {"a"},
    {"a\n"},
    {"one line"},
    {"\n\n"
     "a b\n\n"
     "c\r\n"
     "\r\n"
     "d"},
    {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
    {"\xE2\x82\xAC a\n", "b", "\xF0\x9F\x98\x80\n\n\nb \xE2\x82\xAC", "a\n"},
    {"x y z\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nx"},
};

TEST_F(PeersTest, TheSameFilesForAnyNumber) {
  int turn = 0;  // each text and each form meets both tokenizers
  for (const auto& texts : kTexts) {
    for (const DocumentForm form :
         {DocumentForm::kFile, DocumentForm::kLine, DocumentForm::kBlankLine}) {
      expect_same(with(++turn % 2 == 0 ? "char" : "word", form), texts);
    }
  }
}

TEST_F(PeersTest, BytesThatAreNoText) {
  std::string bytes;
  for (int i = 0; i < 999; ++i) bytes.push_back(static_cast<char>(i * i % 251 + (i % 3 == 0)));
  expect_same(with("byte"), {bytes, std::string(50, '\x80'), "good"});
}

TEST_F(PeersTest, LongTexts) {
  std::mt19937 random(5);
  std::string text;
  while (text.size() < 1'300'000) {
    text += random() % 3 == 0 ? "\xC3\xA9t\xC3\xA9" : "w" + std::to_string(random() % 999);
    const auto kind = random() % 40;
    text += kind == 0 ? "\n\n" : kind < 5 ? "\r\n" : " ";
  }
  const std::string gpt2 = "gpt2:" + folder_.path();
  write_bytes(folder_ / "encoder.json", encoder_json(toy_gpt2()));
  write_bytes(folder_ / "vocab.bpe", vocab_bpe(toy_gpt2()));
  for (const std::string& tokenizer : {std::string("word"), gpt2}) {
    PrepareOptions options = with(tokenizer, DocumentForm::kBlankLine);
    expect_same(options, {text});
    options.documents.form = DocumentForm::kFile;
    options.append_eod = tokenizer == gpt2;
    expect_same(options, {text.substr(0, 700'001), text.substr(700'001)});
  }
}

TEST_F(PeersTest, JsonLines) {
  std::string lines;
  for (int i = 0; i < 300; ++i) {
    lines += R"({"id": )" + std::to_string(i) + R"(, "text": "line )" + std::to_string(i * i) +
             (i % 7 == 0 ? R"(\nand \u00e9")" : R"(")") + R"(, "meta": {"text": 5}})" +
             (i % 5 == 0 ? "\r\n\n" : "\n");
  }
  expect_same(with("char", DocumentForm::kJsonLines), {lines, R"({"text": ""})", lines});
}

// The first refusal by place in the text, whoever meets it, and nothing is left behind.
TEST_F(PeersTest, TheSameRefusals) {
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "line " + std::to_string(i % 10) + "\n";
  struct Bad {
    std::string tokenizer, valid, place;
  };
  for (const auto& [tokenizer, valid, place] :
       {Bad{"char", text + "\xC3\xA9\n" + text, "line 4001, column 1"},
        Bad{"word", text + text + "line odd\n", "line 8001, column 6"}}) {
    const ScratchFolder out;
    PrepareOptions options = with(tokenizer);
    options.train = {folder_ / "train"};
    options.valid = {folder_ / "valid"};
    options.out = out / "set";
    options.progress = nullptr;
    write_bytes(options.train.front(), text);
    write_bytes(options.valid.front(), valid);
    const std::string expected = message_of<DataError>([&] { prepare(options); });
    expect_message(expected, {options.valid.front(), place});
    Alone alone;
    for (const int peers : {2, 5}) {
      std::atomic<int> threw{0};
      run_in_threads(alone, peers, [&](Peers& each) {
        EXPECT_EQ(message_of<DataError>([&] { prepare(options, each); }), expected);
        ++threw;
      });
      EXPECT_EQ(threw, peers);
      EXPECT_EQ(out.names(), std::set<std::string>());
    }
    write_bytes(options.valid.front(), text + "\xFF" + text);
    run_in_threads(alone, 3, [&](Peers& each) {
      expect_message(message_of<DataError>([&] { prepare(options, each); }),
                     {options.valid.front(), "0xFF", "line 4001, column 1"});
    });
  }
}

TEST_F(PeersTest, OnePeerThatGivesUpEndsAll) {
  const ScratchFolder out;
  PrepareOptions options = with("char");
  options.train = {folder_ / "train"};
  options.out = out / "set";
  options.progress = nullptr;
  write_bytes(options.train.front(), std::string(8 << 20, 'a'));
  Alone alone;
  run_in_threads(alone, 3, [&](Peers& each) {
    PrepareOptions mine = options;
    int asked = 0;
    if (each.rank() == 2) mine.give_up = [&] { return ++asked == 4; };
    expect_message(message_of<Interrupted>([&] { prepare(mine, each); }), {"set", "a signal"});
  });
  EXPECT_EQ(out.names(), std::set<std::string>());
}

TEST_F(PeersTest, AFolderThatCannotBeMadeIsOneErrorOnAll) {
  PrepareOptions options = with("char");
  options.train = {folder_ / "train"};
  options.out = "/proc/none/set";
  write_bytes(options.train.front(), "abc");
  Alone alone;
  run_in_threads(alone, 3, [&](Peers& each) {
    expect_message(message_of<IoError>([&] { prepare(options, each); }), {"cannot be made"});
  });
}

}  // namespace
}  // namespace dagpam::data

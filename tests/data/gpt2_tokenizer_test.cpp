#include "data/gpt2_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "configs/errors.h"
#include "data/pretokenizer.h"
#include "data/text_error.h"
#include "data/word_cache.h"
#include "scratch_folder.h"
#include "toy_gpt2.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;
using Words = std::vector<std::string>;

const std::string kPublished = DAGPAM_SOURCE_DIR "/../shared/data/gpt2_bpe";
const std::string kGolden = DAGPAM_SOURCE_DIR "/tests/golden/gpt2_ids.jsonl";

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

Words words_of(std::string_view text) {
  Gpt2Pretokenizer pretokenizer;
  Words words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = pretokenizer.word_end(text, begin);
    EXPECT_GT(end, begin);
    words.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

std::string random_text(std::mt19937& random, size_t pieces) {
  static const std::string kPieces[] = {"a",
                                        "the",
                                        "ing",
                                        " ",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r\n",
                                        "\t",
                                        "'s",
                                        "'",
                                        "1",
                                        "23",
                                        ".",
                                        "!?",
                                        "\xC3\xA9",
                                        "\xE3\x80\x80",
                                        "\xC2\xA0",
                                        "\xF0\x9F\x98\x80",
                                        "\x7F",
                                        std::string(1, '\0')};
  std::uniform_int_distribution<size_t> any(0, std::size(kPieces) - 1);
  std::string text;
  for (size_t i = 0; i < pieces; ++i) text += kPieces[any(random)];
  return text;
}

TEST(Gpt2PretokenizerTest, CutsAsThePatternSays) {
  EXPECT_EQ(words_of("Don't we'll  go\n"), (Words{"Don", "'t", " we", "'ll", " ", " go", "\n"}));
  EXPECT_EQ(words_of("a1 23!? 'S"), (Words{"a", "1", " 23", "!?", " '", "S"}));
  EXPECT_EQ(words_of("a \n b"), (Words{"a", " \n", " b"}));
  EXPECT_EQ(words_of("a  "), (Words{"a", "  "}));
  // NBSP and U+3000 are white space, but only U+0020 joins the word after it.
  EXPECT_EQ(words_of("a\xC2\xA0"
                     "b\xE3\x80\x80\xE3\x80\x80"
                     "c"),
            (Words{"a", "\xC2\xA0", "b", "\xE3\x80\x80", "\xE3\x80\x80", "c"}));
  // U+180E has not been white space since Unicode 6.3; U+2167 is a number, U+0301 neither letter
  // nor number.
  EXPECT_EQ(words_of("a\xE1\xA0\x8E"
                     "b"),
            (Words{"a", "\xE1\xA0\x8E", "b"}));
  EXPECT_EQ(words_of("x\xE2\x85\xA7"
                     "e\xCC\x81"),
            (Words{"x", "\xE2\x85\xA7", "e", "\xCC\x81"}));
}

TEST(Gpt2PretokenizerTest, LongRunsAreOneWord) {
  constexpr size_t kLong = 20'000'000;
  for (const std::string unit : {"a", " ", "1", "!", "\xC3\xA9", "\xE3\x80\x80"}) {
    std::string text;
    while (text.size() < kLong) text += unit;
    Gpt2Pretokenizer pretokenizer;
    EXPECT_EQ(pretokenizer.word_end(text, 0), text.size()) << unit;
  }
}

TEST(Gpt2TokenizerTest, MergesWithinWordsAlone) {
  const Gpt2Tokenizer tokenizer(toy_gpt2());
  EXPECT_EQ(tokenizer.vocab_size(), 264);
  EXPECT_EQ(tokenizer.end_of_text(), 263);
  EXPECT_EQ(encode(tokenizer, " the thing"), (Ids{258, ' ', 256, 260}));
  EXPECT_EQ(encode(tokenizer, "t he"), (Ids{'t', ' ', 'h', 'e'}));  // no merge across words
  EXPECT_EQ(encode(tokenizer, "\xC3\xA9"), (Ids{261}));
  EXPECT_EQ(encode(tokenizer, "<|endoftext|>").size(), 13u);  // never the special id
}

TEST(Gpt2TokenizerTest, DecodeGivesTheTextBack) {
  const Gpt2Tokenizer tokenizer(toy_gpt2());
  std::mt19937 random(2);
  for (int trial = 0; trial < 200; ++trial) {
    const std::string text = random_text(random, 40);
    const Ids ids = encode(tokenizer, text);
    EXPECT_EQ(tokenizer.decode(ids), text);
    EXPECT_EQ(encode(tokenizer, text), ids);  // from the word cache
  }
  EXPECT_EQ(tokenizer.decode(Ids{0xC3}), "\xC3");  // a token may be part of a character
  expect_message(message_of<DataError>([&] { tokenizer.decode(Ids{264}); }), {"264", "0 to 263"});
}

TEST(Gpt2TokenizerTest, CutsAreFree) {
  const Gpt2Tokenizer tokenizer(toy_gpt2());
  std::mt19937 random(3);
  for (int trial = 0; trial < 100; ++trial) {
    const std::string text = random_text(random, 30);
    const Ids whole = encode(tokenizer, text);
    for (size_t limit = 1; limit <= text.size(); limit += 3) {
      Ids parts;
      for (std::string_view rest = text; !rest.empty();) {
        const size_t size = tokenizer.cut(rest, std::min(limit, rest.size()));
        ASSERT_TRUE(size >= 1 && size <= rest.size());
        tokenizer.encode(rest.substr(0, size), parts);
        rest.remove_prefix(size);
      }
      ASSERT_EQ(parts, whole) << limit;
    }
  }
}

TEST(Gpt2TokenizerTest, TextThatIsNoUtf8IsRefused) {
  const Gpt2Tokenizer tokenizer(toy_gpt2());
  expect_message(message_of<TextError>([&] { encode(tokenizer, "the\n\xE2\x82"); }),
                 {"0xE2", "byte 4 (line 2, column 1)"});
}

TEST(WordCacheTest, ForgetsWhenFullAndStaysRight) {
  WordCache cache;
  const auto ids_of = [](int32_t n) { return Ids(static_cast<size_t>(1 + n % 5), n); };
  int64_t known = 0;
  for (int round = 0; round < 3; ++round) {
    for (int32_t n = 0; n < 200'000; ++n) {
      const std::string word = std::to_string(n % 150'000);
      WordCache::Place place;
      const auto found = cache.find(word, place);
      if (found.empty()) {
        cache.insert(place, word, ids_of(n % 150'000));
      } else {
        ++known;
        ASSERT_EQ(Ids(found.begin(), found.end()), ids_of(n % 150'000));
      }
    }
  }
  EXPECT_GT(known, 1000);
}

TEST(Gpt2TokenizerTest, PublishedIdsOnMixedUnicode) {
  if (!std::filesystem::exists(kPublished)) GTEST_SKIP() << kPublished << " is absent";
  const auto tokenizer = make_tokenizer("gpt2:" + kPublished, "");
  EXPECT_EQ(tokenizer->vocab_size(), 50257);
  EXPECT_EQ(tokenizer->end_of_text(), 50256);
  EXPECT_EQ(encode(*tokenizer, "Hello, world"), (Ids{15496, 11, 995}));
  std::ifstream golden(kGolden);
  int lines = 0;
  for (std::string line; std::getline(golden, line); ++lines) {
    const auto object = nlohmann::json::parse(line);
    const auto text = object["text"].get<std::string>();
    const auto ids = object["ids"].get<Ids>();
    EXPECT_EQ(encode(*tokenizer, text), ids) << "line " << lines + 1 << " of " << kGolden;
    EXPECT_EQ(tokenizer->decode(ids), text);
  }
  EXPECT_EQ(lines, 1000);
}

TEST(Gpt2TokenizerTest, PublishedCountsOnKnownTexts) {
  const std::string text = DAGPAM_SOURCE_DIR "/../shared/data/tinyshakespeare/input.txt";
  if (!std::filesystem::exists(text)) GTEST_SKIP() << text << " is absent";
  const auto tokenizer = make_tokenizer("gpt2:" + kPublished, "");
  const std::string bytes = read_bytes(text);
  const size_t train = bytes.size() * 9 / 10;
  // nanoGPT's readme counts these (data/shakespeare/prepare.py: first 90 % of the characters).
  EXPECT_EQ(encode(*tokenizer, std::string_view(bytes).substr(0, train)).size(), 301'966u);
  EXPECT_EQ(encode(*tokenizer, std::string_view(bytes).substr(train)).size(), 36'059u);
}

}  // namespace
}  // namespace dagpam::data

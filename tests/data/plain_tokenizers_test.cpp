// byte, char and word: ids, text back, refusals, places to cut.
#include <gtest/gtest.h>

#include "configs/errors.h"
#include "data/text_error.h"
#include "data/tokenizer.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode(text, ids);
  return ids;
}

// Parts that the tokenizer allows give the ids of the whole, whatever the limit.
void expect_cuts_are_free(const Tokenizer& tokenizer, std::string_view text) {
  const Ids whole = encode(tokenizer, text);
  for (size_t limit = 1; limit <= text.size(); ++limit) {
    Ids parts;
    for (size_t begin = 0; begin < text.size();) {
      const std::string_view rest = text.substr(begin);
      const size_t size = tokenizer.cut(rest, std::min(limit, rest.size()));
      ASSERT_GE(size, 1u);
      ASSERT_LE(size, rest.size());
      tokenizer.encode(rest.substr(0, size), parts);
      begin += size;
    }
    ASSERT_EQ(parts, whole) << "limit " << limit;
  }
}

TEST(ByteTokenizerTest, EveryByteIsItsOwnId) {
  const auto tokenizer = make_tokenizer("byte", "");
  std::string text;
  for (int i = 0; i < 256; ++i) text.push_back(static_cast<char>(i));
  const Ids ids = encode(*tokenizer, text);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(ids[static_cast<size_t>(i)], i);
  EXPECT_EQ(tokenizer->decode(ids), text);
  EXPECT_EQ(tokenizer->vocab_size(), 256);
  EXPECT_EQ(tokenizer->end_of_text(), -1);
  expect_cuts_are_free(*tokenizer, text);
}

TEST(CharTokenizerTest, IdsFollowCodePoints) {
  const auto tokenizer = make_tokenizer("char",
                                        "z\xC3\xA9"
                                        "a\xF0\x9F\x98\x80\nza");  // z é a 😀 \n
  EXPECT_EQ(tokenizer->vocab_size(), 5);
  EXPECT_EQ(encode(*tokenizer, "\na\xC3\xA9z\xF0\x9F\x98\x80"), (Ids{0, 1, 3, 2, 4}));
  EXPECT_EQ(tokenizer->decode(Ids{4, 0, 3}), "\xF0\x9F\x98\x80\n\xC3\xA9");
  expect_cuts_are_free(*tokenizer, "a\xC3\xA9\xC3\xA9\xF0\x9F\x98\x80\xF0\x9F\x98\x80z");
}

TEST(CharTokenizerTest, RefusesWhatTheTrainingTextLacks) {
  const auto tokenizer = make_tokenizer("char", "abc\n");
  const auto message = message_of<TextError>([&] { encode(*tokenizer, "ab\nca\xC3\xA9"); });
  expect_message(message,
                 {"'\xC3\xA9' (U+00E9)", "byte 5 (line 2, column 3)", "4 of the training"});
  expect_message(message_of<TextError>([&] { encode(*tokenizer, "ab\x07"); }),
                 {"U+0007", "byte 2"});
  expect_message(message_of<TextError>([&] { encode(*tokenizer, "ab\xFF"); }),
                 {"0xFF", "not UTF-8"});
}

TEST(CharTokenizerTest, RefusesBadTrainingText) {
  expect_message(message_of<DataError>([] { make_tokenizer("char", ""); }), {"empty"});
  expect_message(message_of<DataError>([] { make_tokenizer("char", "a\x80"); }),
                 {"0x80", "byte 1"});
}

TEST(WordTokenizerTest, WordsAndLinesInOrderOfAppearance) {
  // Leading and trailing spaces as in the PTB files; an empty line is a line; NBSP and U+3000 part
  // words.
  const std::string text =
      " the cat \n\n the\xC2\xA0"
      "dog\xE3\x80\x80the\r\n";
  const auto tokenizer = make_tokenizer("word", text);
  EXPECT_EQ(tokenizer->vocab_size(), 4);  // the cat <eos> dog
  EXPECT_EQ(encode(*tokenizer, text), (Ids{0, 1, 2, 2, 0, 3, 0, 2}));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)), "the cat\n\nthe dog the\n");
  expect_cuts_are_free(*tokenizer, text);
}

TEST(WordTokenizerTest, LastLineWithoutLineEnd) {
  const auto tokenizer = make_tokenizer("word", "a b\nb");
  EXPECT_EQ(encode(*tokenizer, "a b\nb"), (Ids{0, 1, 2, 1, 2}));
  EXPECT_EQ(encode(*tokenizer, "b"), (Ids{1, 2}));
  EXPECT_EQ(encode(*tokenizer, ""), Ids{});
  expect_cuts_are_free(*tokenizer, "a b\nb");
}

TEST(WordTokenizerTest, APromptIsNoWholeLine) {
  const auto tokenizer = make_tokenizer("word", "a b\n");
  const auto prompt = [&](std::string_view text) {
    Ids ids;
    tokenizer->encode_prompt(text, ids);
    return ids;
  };
  EXPECT_EQ(prompt("a b"), (Ids{0, 1}));
  EXPECT_EQ(prompt("a\nb "), (Ids{0, 2, 1}));
  EXPECT_EQ(prompt("a b\n"), (Ids{0, 1, 2}));
  EXPECT_EQ(prompt(""), Ids{});
}

TEST(WordTokenizerTest, UnknownWordsNeedUnk) {
  const auto with = make_tokenizer("word", "<unk> a\n");
  EXPECT_EQ(encode(*with, "b a\n"), (Ids{0, 1, 2}));
  const auto without = make_tokenizer("word", "a\n");
  const auto message = message_of<TextError>([&] { encode(*without, "a\na b\x1B[31m\n"); });
  expect_message(message, {"\"b\\u001b[31m\"", "byte 4 (line 2, column 3)", "<unk>"});
  EXPECT_EQ(message.find('\x1B'), std::string::npos);  // no control reaches the terminal
}

TEST(TokenizerTest, IdsOutsideTheVocabularyAreRefused) {
  for (const std::string spec : {"byte", "char", "word"}) {
    const auto tokenizer = make_tokenizer(spec, "a b\n");
    for (const int32_t id : {-1, static_cast<int32_t>(tokenizer->vocab_size()), INT32_MIN}) {
      const auto message = message_of<DataError>([&] { tokenizer->decode(Ids{0, id}); });
      expect_message(message, {spec, std::to_string(id)});
    }
  }
}

TEST(TokenizerTest, SeveralTrainingTextsGiveOneVocabulary) {
  const std::string_view texts[] = {"a b\n", "c a"};
  const auto words = make_tokenizer("word", texts);
  EXPECT_EQ(encode(*words, "c b"), (Ids{3, 1, 2}));
  EXPECT_EQ(make_tokenizer("char", texts)->vocab_size(), 5);
}

TEST(TokenizerTest, UnknownSpecIsAConfigError) {
  for (const std::string spec : {"", "bytes", "gpt2", "gpt2:", "spm", "spm:", "Char"}) {
    const auto message = message_of<ConfigError>([&] { make_tokenizer(spec, "a"); });
    expect_message(message, {"'" + spec + "'", "byte, char, word, gpt2:DIR"});
  }
}

}  // namespace
}  // namespace dagpam::data

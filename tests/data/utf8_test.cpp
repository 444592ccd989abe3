#include "data/utf8.h"

#include <gtest/gtest.h>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

// Every code point there is: the encoder's bytes decode to it, and nothing else does.
TEST(Utf8Test, EveryCodePointRoundTrips) {
  for (char32_t value = 0; value <= 0x10FFFF; ++value) {
    if (value >= 0xD800 && value <= 0xDFFF) continue;
    std::string text;
    append_code_point(value, text);
    const CodePoint point = decode_code_point(text, 0);
    ASSERT_TRUE(point.value == value) << static_cast<uint32_t>(value);
    ASSERT_EQ(static_cast<size_t>(point.length), text.size());
    ASSERT_EQ(find_invalid_utf8(text), text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(find_invalid_utf8(std::string_view(text).substr(0, cut)), 0u)
          << static_cast<uint32_t>(value);
    }
  }
}

// All sequences of three bytes after a prefix: the valid ones must be as many as RFC 3629's table
// allows.
TEST(Utf8Test, CountOfValidSequencesIsThatOfTheStandard) {
  int64_t two = 0, three = 0;
  for (int a = 0x80; a < 0x100; ++a) {
    for (int b = 0; b < 0x100; ++b) {
      const std::string pair{static_cast<char>(a), static_cast<char>(b)};
      two += find_invalid_utf8(pair) == 2 ? 1 : 0;
      for (int c = 0; c < 0x100; ++c) {
        const std::string triple{static_cast<char>(a), static_cast<char>(b), static_cast<char>(c)};
        three += decode_code_point(triple, 0).length == 3 ? 1 : 0;
      }
    }
  }
  EXPECT_EQ(two, 0x800 - 0x80);
  EXPECT_EQ(three, 0x10000 - 0x800 - 0x800);  // less the surrogates
}

TEST(Utf8Test, RefusedForms) {
  const std::string_view bad[] = {
      "\xC0\xAF",     "\xC1\xBF",     "\xE0\x80\xAF",     "\xF0\x80\x80\xAF",
      "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
      "\xFF",         "\x80",         "\xE2\x82",         "\xF0\x9F\x98"};
  for (const auto sequence : bad) {
    for (const size_t before : {0u, 1u, 7u, 8u, 9u, 100u}) {
      const std::string text = std::string(before, 'x') + std::string(sequence) + "tail";
      EXPECT_EQ(find_invalid_utf8(text), before);
    }
  }
}

TEST(Utf8Test, LocatesByLineAndColumn) {
  const std::string text = "ab\n\xC3\xA9z\xFF!";
  EXPECT_EQ(to_string(locate(text, 0)), "byte 0 (line 1, column 1)");
  EXPECT_EQ(to_string(locate(text, 2)), "byte 2 (line 1, column 3)");
  EXPECT_EQ(to_string(locate(text, 5)), "byte 5 (line 2, column 2)");
  EXPECT_EQ(to_string(locate(text, 7)), "byte 7 (line 2, column 4)");
}

TEST(Utf8Test, DescribesWhatPrintsAndWhatDoesNot) {
  EXPECT_EQ(describe_code_point(0xE9), "'\xC3\xA9' (U+00E9)");
  EXPECT_EQ(describe_code_point(0x1F600), "'\xF0\x9F\x98\x80' (U+1F600)");
  EXPECT_EQ(describe_code_point(7), "U+0007");
  EXPECT_EQ(describe_code_point(0x200D), "U+200D");
  EXPECT_EQ(describe_code_point(0x202E), "U+202E");
}

TEST(Utf8Test, RequireNamesSourcePositionAndByte) {
  try {
    require_utf8("line\nab\xFF", "text.txt");
    FAIL();
  } catch (const DataError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("text.txt"), std::string::npos);
    EXPECT_NE(what.find("byte 7 (line 2, column 3)"), std::string::npos);
    EXPECT_NE(what.find("0xFF"), std::string::npos);
  }
  EXPECT_NO_THROW(require_utf8("h\xC3\xA9", "text.txt"));
}

}  // namespace
}  // namespace dagpam::data

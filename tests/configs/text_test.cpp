// The small parts: printable lines, UTF-8, nearest names, arithmetic that does not wrap.
#include "configs/text.h"

#include <limits>

#include "configs/checked.h"
#include "configs/suggest.h"
#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

constexpr auto kNone = std::string_view::npos;

TEST(OneLineTest, EscapesWhatWouldBreakOrHide) {
  EXPECT_EQ(one_line("plain text"), "plain text");
  EXPECT_EQ(one_line("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(one_line(std::string_view("\0\x1b\x7f", 3)), "\\x00\\x1b\\x7f");
  EXPECT_EQ(one_line("\xC2\x85\xE2\x80\xA8"), "\\u0085\\u2028");
  EXPECT_EQ(one_line("\xC3\xA9\xFF\xC3"), "\xC3\xA9\\xff\\xc3");
}

TEST(OneLineTest, CutsBetweenCharacters) {
  EXPECT_EQ(one_line("abcdef", 6), "abcdef");
  EXPECT_EQ(one_line("abcdef", 5), "abcde...");
  EXPECT_EQ(one_line("\xC3\xA9\xC3\xA9", 3), "\xC3\xA9...");
  EXPECT_EQ(one_line(std::string(1000000, '\n')).size(), 163U);
}

TEST(Utf8Test, FindsTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8("a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80"), kNone);
  EXPECT_EQ(find_invalid_utf8("\xF4\x8F\xBF\xBF"), kNone);   // U+10FFFF
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2U);                // lone continuation
  EXPECT_EQ(find_invalid_utf8("\xC0\x80"), 0U);              // overlong
  EXPECT_EQ(find_invalid_utf8("\xE0\x80\x80"), 0U);          // overlong
  EXPECT_EQ(find_invalid_utf8("\xED\xA0\x80"), 0U);          // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0U);      // past U+10FFFF
  EXPECT_EQ(find_invalid_utf8("a\xE4\xB8"), 1U);             // cut short
  EXPECT_EQ(find_invalid_utf8("\xF8\x88\x80\x80\x80"), 0U);  // five bytes
}

TEST(ShownTest, IsTheShortestThatReadsBack) {
  EXPECT_EQ(shown(0.1), "0.1");
  EXPECT_EQ(shown(1), "1");
  EXPECT_EQ(shown(1e-5), "1e-05");
  EXPECT_EQ(shown(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(shown(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(JoinedTest, CommasAndAWordBeforeTheLast) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(joined(Strings{}), "");
  EXPECT_EQ(joined(Strings{"a"}), "a");
  EXPECT_EQ(joined(Strings{"a", "b"}), "a or b");
  EXPECT_EQ(joined(Strings{"a", "b", "c"}, " and "), "a, b and c");
}

TEST(EditDistanceTest, CountsEditsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("layers", "LAYERS"), 0U);
  EXPECT_EQ(edit_distance("mlpw", "mplw"), 1U);
  EXPECT_EQ(edit_distance("ca", "abc"), 3U);  // a swapped pair is not edited again
}

TEST(ClosestTest, IsTheNearestOrNothing) {
  const std::vector<std::string> names = {"layers", "width", "warmup_steps", "lr"};
  EXPECT_EQ(closest("laers", names), "layers");
  EXPECT_EQ(closest("widht", names), "width");
  EXPECT_EQ(closest("warmup", names), "warmup_steps");
  EXPECT_EQ(closest("Warmup-Steps", names), "warmup_steps");
  EXPECT_EQ(closest("zzzz", names), std::nullopt);
  EXPECT_EQ(closest("", names), std::nullopt);
  EXPECT_EQ(closest(std::string(1000000, 'l'), names), std::nullopt);
}

TEST(SuggestFieldTest, EveryOtherNameLeadsToAField) {
  for (const char* name : {"d_model", "n_head", "block_size", "learning_rate", "max_iters",
                           "batch_size", "beta2", "rope_theta", "vocab_size"}) {
    const std::string remedy = suggest_field(*RunConfig::descriptor(), "", name);
    ASSERT_EQ(remedy.rfind("did you mean ", 0), 0U) << remedy;
    const std::string path = remedy.substr(13, remedy.size() - 14);
    RunConfig config;
    EXPECT_NO_THROW(apply_override(config, path + "=1")) << path;
  }
}

TEST(CheckedTest, ProductsThatDoNotFitAreNothing) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(checked_multiply(3, -4), -12);
  EXPECT_EQ(checked_multiply(kMost, 1), kMost);
  EXPECT_EQ(checked_multiply(kMost, 2), std::nullopt);
  EXPECT_EQ(checked_multiply(int64_t{1} << 32, int64_t{1} << 31), std::nullopt);
}

TEST(CheckedTest, NearestDivisor) {
  EXPECT_EQ(nearest_divisor(128, 5), 4);
  EXPECT_EQ(nearest_divisor(128, 7), 8);
  EXPECT_EQ(nearest_divisor(12, 5), 4);
  EXPECT_EQ(nearest_divisor(7, 100), 7);
  EXPECT_EQ(nearest_divisor(1, 3), 1);
}

}  // namespace
}  // namespace dagpam::configs

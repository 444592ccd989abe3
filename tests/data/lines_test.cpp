#include "data/lines.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dagpam::data {
namespace {

TEST(LinesTest, ReaderGivesEveryLine) {
  const std::pair<std::string, std::vector<std::string>> texts[] = {
      {"", {}},          {"\n", {""}}, {"a", {"a"}}, {"a\n", {"a"}}, {"a\n\nb", {"a", "", "b"}},
      {"\n\n", {"", ""}}};
  for (const auto& [text, lines] : texts) {
    EXPECT_EQ(count_lines(text), std::ssize(lines)) << text;
    LineReader reader(text);
    std::string_view line;
    for (size_t i = 0; i < lines.size(); ++i) {
      ASSERT_TRUE(reader.next(line));
      EXPECT_EQ(line, lines[i]);
      EXPECT_EQ(reader.number(), static_cast<int64_t>(i) + 1);
      EXPECT_EQ(text.substr(reader.offset(), line.size()), line);
    }
    EXPECT_FALSE(reader.next(line));
    EXPECT_GE(reader.position(), text.size());
  }
}

TEST(LinesTest, CutStandsBehindALineEnd) {
  const std::string text = "ab\ncd\nef";
  EXPECT_EQ(cut_behind_line(text, 1), 3u);
  EXPECT_EQ(cut_behind_line(text, 3), 3u);
  EXPECT_EQ(cut_behind_line(text, 5), 3u);
  EXPECT_EQ(cut_behind_line(text, 6), 6u);
  EXPECT_EQ(cut_behind_line(text, 8), 6u);
  EXPECT_EQ(cut_behind_line("abc", 2), 3u);
}

}  // namespace
}  // namespace dagpam::data

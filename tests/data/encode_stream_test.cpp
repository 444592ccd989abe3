#include "data/encode_stream.h"

#include <gtest/gtest.h>

#include <sstream>

#include "configs/errors.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

std::string answers(const std::string& lines) {
  std::istringstream in(lines);
  std::ostringstream out;
  encode_json_lines(*make_tokenizer("char", "ab\n\xC3\xA9"), in, out);
  return out.str();
}

TEST(EncodeStreamTest, OneArrayALine) {
  EXPECT_EQ(answers("\"ab\"\n\"\"\n\"\\u00e9\\n\"\n\"b\""), "[1,2]\n[]\n[3,0]\n[2]\n");
  EXPECT_EQ(answers(""), "");
}

TEST(EncodeStreamTest, BadLinesAreNamed) {
  for (const std::string bad : {"ab", "", "[1]", "\"a", "\"\\ud800\"", "\"a\" \"b\"", "\"\xFF\""}) {
    expect_message(message_of<DataError>([&] { answers("\"a\"\n" + bad + "\n"); }),
                   {"line 2", "JSON string"});
  }
  expect_message(message_of<DataError>([] { answers("\"a\"\n\"bx\"\n"); }),
                 {"line 2", "'x'", "byte 1"});
}

TEST(EncodeStreamTest, OutputThatFailsIsAnIoError) {
  std::istringstream in("\"ab\"\n");
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  EXPECT_THROW(encode_json_lines(*make_tokenizer("byte", ""), in, out), IoError);
}

}  // namespace
}  // namespace dagpam::data

// The safetensors format: what the Python package writes is read, what breaks a rule is refused.
#include "trainer/checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/trainer/checkpoint_fixtures.h"

namespace dagpam::checkpoint::testing {
namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + rest;
}

std::string as_file(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, '\1'));
}

class Safetensors : public ::testing::Test {
 protected:
  SafetensorsHeader parse(const std::string& bytes) {
    write_file(path_, bytes);
    return read_safetensors_header(InputFile(posix_file_system(), path_));
  }
  std::string problem(const std::string& bytes) {
    try {
      parse(bytes);
      return "";
    } catch (const CheckpointError& error) {
      return error.what();
    }
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.path() + "/file.safetensors";
};

// save_file({"a": float32 [2, 2] of 1 2 3 4, "b": int64 scalar 5}, metadata={"k": "v"}),
// safetensors 0.8.0.
TEST_F(Safetensors, ReadsWhatThePythonPackageWrote) {
  const std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]}})";
  const SafetensorsHeader parsed =
      parse(as_file(header + std::string(8 - header.size() % 8, ' '), 24));
  ASSERT_EQ(parsed.entries.size(), 2u);
  EXPECT_EQ(parsed.entries[0].name, "b");
  EXPECT_EQ(parsed.entries[0].dtype, "I64");
  EXPECT_EQ(parsed.entries[0].shape, Shape{});
  EXPECT_EQ(parsed.entries[0].begin % 8, 0);
  EXPECT_EQ(parsed.entries[1].name, "a");
  EXPECT_EQ(parsed.entries[1].shape, (Shape{2, 2}));
  EXPECT_EQ(parsed.entries[1].begin, parsed.entries[0].end);
  EXPECT_EQ(parsed.metadata, (std::map<std::string, std::string>{{"k", "v"}}));
}

TEST_F(Safetensors, WritesAndReadsEveryType) {
  const std::string data(64, '\7');
  std::vector<SafetensorsTensor> tensors;
  for (const char* dtype : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "U16", "I16",
                            "F16", "BF16", "U32", "I32", "F32", "U64", "I64", "F64", "C64"}) {
    const size_t width = static_cast<size_t>(dtype_bytes(dtype));
    ASSERT_GT(width, 0u) << dtype;
    tensors.push_back({dtype, dtype, {3, 1}, as_bytes(data).first(3 * width)});
  }
  tensors.push_back({"empty", "F32", {0, 7}, {}});
  tensors.push_back({"a \"b\" \\ \xc3\xa9", "F32", {}, as_bytes(data).first(4)});
  BlockWriter writer(posix_file_system(), path_);
  write_safetensors(writer, tensors, {{"key", "value"}});
  writer.finish();
  const SafetensorsHeader header = read_safetensors_header(InputFile(posix_file_system(), path_));
  ASSERT_EQ(header.entries.size(), tensors.size());
  EXPECT_EQ(header.metadata.at("key"), "value");
  for (const SafetensorsEntry& entry : header.entries) {
    EXPECT_EQ(entry.begin % dtype_bytes(entry.dtype), 0) << entry.name;
  }
  EXPECT_EQ(header.entries.back().dtype.back(), '0');  // narrow types last: F8_E8M0
}

TEST_F(Safetensors, RefusesTensorsThatDoNotFitTheirBytes) {
  const std::string data(8, '\0');
  const auto write = [&](std::vector<SafetensorsTensor> tensors) {
    BlockWriter writer(posix_file_system(), path_);
    write_safetensors(writer, std::move(tensors), {{"k", "v"}});
  };
  EXPECT_THROW(write({{"a", "F32", {3}, as_bytes(data)}}), CheckpointError);
  EXPECT_THROW(write({{"a", "F4", {16}, as_bytes(data)}}), CheckpointError);
  EXPECT_THROW(write({{"a", "F32", {-2}, as_bytes(data)}}), CheckpointError);
  EXPECT_THROW(write({{"a", "F64", {INT64_MAX}, as_bytes(data)}}), CheckpointError);
  const SafetensorsTensor good{"a", "F32", {2}, as_bytes(data)};
  EXPECT_THROW(write({good, good}), CheckpointError);
}

TEST_F(Safetensors, EmptyFilesOfTensorsAreFine) {
  EXPECT_TRUE(parse(as_file("{}", 0)).entries.empty());
  EXPECT_TRUE(parse(as_file("{}      ", 0)).entries.empty());
  EXPECT_EQ(parse(as_file(R"({"__metadata__":{}})", 0)).metadata.size(), 0u);
  EXPECT_EQ(parse(as_file(R"({"a":{"shape":[0],"data_offsets":[4,4],"dtype":"F32"},)"
                          R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                          4))
                .entries.size(),
            2u);
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets,
                  const std::string& name = "a") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + entry(dtype, shape, offsets) + "}";
}

TEST_F(Safetensors, RefusesHeadersThatBreakARule) {
  struct Row {
    std::string header;
    size_t data;
    std::string because;
  };
  const std::string good = entry("F32", "[1]", "[0,4]");
  const std::vector<Row> table{
      {"", 0, "'{'"},
      {" {}", 0, "'{'"},
      {"[]", 0, "'{'"},
      {"{", 0, "JSON"},
      {"{}x", 0, "JSON"},
      {"{}{}", 0, "JSON"},
      {"{} \1", 0, "JSON"},
      {"{" + good + ",}", 4, "JSON"},
      {"{\"\xff\":{}}", 0, "JSON"},
      {"{" + good + "," + good + "}", 4, "twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "twice"},
      {R"({"__metadata__":{"k":"a","k":"b"}})", 0, "twice"},
      {R"({"__metadata__":{"k":1}})", 0, "no place"},
      {R"({"__metadata__":{"k":{}}})", 0, "no place"},
      {R"({"__metadata__":[]})", 0, "no place"},
      {R"({"__metadata__":"x"})", 0, "no place"},
      {R"({"a":null})", 0, "no place"},
      {R"({"a":[]})", 0, "no place"},
      {R"({"a":{}})", 0, "needed"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "needed"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}})", 4, "unknown field"},
      {R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, "no place"},
      {R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "empty"},
      {R"({"a\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "control"},
      {"{" + entry("F32", "[1]", "[0,4]", std::string(2000, 'n')) + "}", 4, "too long"},
      {one("F4", "[8]", "[0,4]"), 4, "unknown dtype"},
      {one("f32", "[1]", "[0,4]"), 4, "unknown dtype"},
      {one("F32", "[-1]", "[0,4]"), 4, "negative"},
      {one("F32", "[1.0]", "[0,4]"), 4, "64-bit"},
      {one("F32", "[1e0]", "[0,4]"), 4, "64-bit"},
      {one("F32", "[true]", "[0,4]"), 4, "no place"},
      {one("F32", "[[1]]", "[0,4]"), 4, "no place"},
      {one("F32", "\"1\"", "[0,4]"), 4, "no place"},
      {one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "dimensions"},
      {one("F32", "[9223372036854775808]", "[0,4]"), 4, "2^63"},
      {one("F32", "[18446744073709551616]", "[0,4]"), 4, "64-bit"},
      {one("F32", "[9223372036854775807]", "[0,4]"), 4, "counted"},
      {one("U8", "[4294967296,4294967296]", "[0,0]"), 0, "counted"},    // 2^64 wraps to 0
      {one("U8", "[4294967296,4294967296,0]", "[0,0]"), 0, "counted"},  // hidden by a 0
      {one("F32", "[4611686018427387905]", "[0,4]"), 4, "counted"},     // times 4 wraps to 4
      {one("F32", "[2]", "[0,4]"), 4, "do not hold"},
      {one("F32", "[1]", "[0,8]"), 8, "do not hold"},
      {one("F32", "[1]", "[4,0]"), 4, "do not hold"},
      {one("F32", "[1]", "[0]"), 4, "needed"},
      {one("F32", "[1]", "[]"), 4, "needed"},
      {one("F32", "[1]", "[0,4,4]"), 4, "more than two"},
      {one("F32", "[1]", "[9223372036854775804,9223372036854775807]"), 4, "do not hold"},
      {one("F32", "[1]", "[4,8]"), 8, "begins at 4"},    // a hole in front
      {one("F32", "[1]", "[0,4]"), 8, "end at byte 4"},  // data behind
      {one("F32", "[1]", "[0,4]"), 3, "end at byte 4"},  // data cut
      {"{" + good + "," + entry("F32", "[1]", "[8,12]", "b") + "}", 12, "begins at 8"},
      {"{" + good + "," + entry("F32", "[1]", "[0,4]", "b") + "}", 4, "begins at 0"},
      {"{" + good + "," + entry("F32", "[1]", "[2,6]", "b") + "}", 6, "begins at 2"},
  };
  for (size_t i = 0; i < table.size(); ++i) {
    const std::string found = problem(as_file(table[i].header, table[i].data));
    EXPECT_NE(found.find(table[i].because), std::string::npos)
        << "row " << i << ": " << table[i].header.substr(0, 100) << ": '" << found << "'";
    EXPECT_EQ(found.find('\n'), std::string::npos);
    EXPECT_LT(found.size(), 600u);
  }
  EXPECT_EQ(problem(as_file("{" + good + "}", 4)), "");
}

TEST_F(Safetensors, RefusesLengthsBeforeTheyAreRead) {
  for (const uint64_t length :
       {uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 63, UINT64_MAX}) {
    EXPECT_NE(problem(with_length(length, "{}")).find("passes"), std::string::npos);
  }
  for (size_t size = 0; size < 8; ++size) {
    EXPECT_NE(problem(std::string(size, '\0')).find("shorter"), std::string::npos);
  }
  // A header of one byte more than the limit, all there (as a hole in the file).
  write_file(path_, with_length(kMaxHeaderBytes + 1, "{}"));
  std::filesystem::resize_file(path_, static_cast<uintmax_t>(kMaxHeaderBytes) + 9);
  const InputFile file(posix_file_system(), path_);
  EXPECT_THROW(read_safetensors_header(file), CheckpointError);
  EXPECT_THROW(read_safetensors_header(file, 1000), CheckpointError);
}

TEST_F(Safetensors, DeepAndLongHeadersEndQuickly) {
  std::string deep = "{";
  for (int i = 0; i < 1'000'000; ++i) deep += "\"a\":{";
  EXPECT_NE(problem(as_file(deep, 0)), "");
  EXPECT_NE(problem(as_file("{\"a\":" + std::string(1'000'000, '['), 0)), "");
  EXPECT_NE(problem(as_file("{\"" + std::string(10'000'000, 'a'), 0)), "");
  const std::string number = "[" + std::string(1'000'000, '9') + "]";
  EXPECT_NE(problem(as_file(one("U8", number, "[0,4]"), 4)), "");
}

TEST_F(Safetensors, OtherFormatsAreNotTakenForIt) {
  const std::string padding(200, '\0');
  for (const std::string& start :
       {std::string("\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", 11), std::string("PK\x03\x04"),
        std::string("GGUF"), std::string("\x89HDF\r\n\x1a\n"), std::string("{\"a\":1}")}) {
    EXPECT_NE(problem(start + padding), "");
  }
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

#include "data/megatron_index.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "configs/errors.h"
#include "data/indexed_writer.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

// Three documents of 2, 1 and 3 tokens; u16. Byte offsets of the fields in the .idx:
constexpr size_t kVersion = 9, kType = 17, kSequences = 18, kBoundaries = 26, kLengths = 34,
                 kPointers = 46, kDocuments = 70, kEnd = 102;

class MegatronIndexTest : public ::testing::Test {
 protected:
  MegatronIndexTest() {
    IndexedWriter writer(folder_ / "a", TokenWidth::kU16);
    using Ids = std::vector<int32_t>;
    writer.add_document(Ids{1, 2});
    writer.add_document(Ids{3});
    writer.add_document(Ids{4, 5, 6});
    writer.finish();
    good_ = read_bytes(folder_ / "a.idx");
  }

  MegatronIndex read(const std::string& bytes, int64_t bin_bytes = 12) const {
    write_bytes(folder_ / "a.idx", bytes);
    return read_megatron_index(folder_ / "a.idx", bin_bytes);
  }

  template <typename Value>
  std::string with(size_t offset, Value value) const {
    std::string bytes = good_;
    std::memcpy(&bytes[offset], &value, sizeof(value));
    return bytes;
  }

  ScratchFolder folder_;
  std::string good_;
};

TEST_F(MegatronIndexTest, ReadsWhatIsThere) {
  ASSERT_EQ(good_.size(), kEnd);
  const MegatronIndex index = read(good_);
  EXPECT_EQ(index.type, TokenType::kU16);
  EXPECT_EQ(index.tokens, 6);
  EXPECT_EQ(index.sequences, 3);
  EXPECT_EQ(index.document_starts, (std::vector<int64_t>{0, 2, 3}));
}

TEST_F(MegatronIndexTest, EmptyDocumentsAndSequencesLeaveNoTrace) {
  // sequences of 0, 2, 0, 1, 0 tokens; documents [0,0) [0,2) [2,3) [3,5) [5,5)
  const std::string head = good_.substr(0, kSequences);
  const std::string bytes =
      head + packed(uint64_t{5}, uint64_t{6}) +
      packed(int32_t{0}, int32_t{2}, int32_t{0}, int32_t{1}, int32_t{0}) +
      packed(int64_t{0}, int64_t{0}, int64_t{4}, int64_t{4}, int64_t{6}) +
      packed(int64_t{0}, int64_t{0}, int64_t{2}, int64_t{3}, int64_t{5}, int64_t{5});
  const MegatronIndex index = read(bytes, 6);
  EXPECT_EQ(index.tokens, 3);
  EXPECT_EQ(index.document_starts, (std::vector<int64_t>{0, 2}));
}

TEST_F(MegatronIndexTest, LongIndexPassesInBlocks) {
  constexpr int kLong = 20'000;  // more than two blocks of each array
  IndexedWriter writer(folder_ / "b", TokenWidth::kI32);
  for (int i = 0; i < kLong; ++i) writer.add_document(std::vector<int32_t>(size_t(1 + i % 3), i));
  writer.finish();
  const MegatronIndex index = read_megatron_index(folder_ / "b.idx", 4 * writer.tokens());
  ASSERT_EQ(index.document_starts.size(), size_t{kLong});
  int64_t start = 0;
  for (int i = 0; i < kLong; ++i) {
    ASSERT_EQ(index.document_starts[static_cast<size_t>(i)], start);
    start += 1 + i % 3;
  }
  EXPECT_EQ(index.tokens, start);
}

TEST_F(MegatronIndexTest, EveryFieldIsChecked) {
  constexpr auto kHuge = uint64_t{1} << 63;
  struct Row {
    const char* what;
    std::string bytes;
    const char* field;  // in the message
    int64_t bin_bytes = 12;
  };
  std::string modes = good_ + std::string(3, '\1');
  const std::vector<Row> table = {
      {"empty file", "", "size"},
      {"header cut", good_.substr(0, 33), "size"},
      {"magic", with(0, 'X'), "MMIDIDX"},
      {"magic's zeros", with(8, '\1'), "MMIDIDX"},
      {"version 0", with(kVersion, uint64_t{0}), "version is 0"},
      {"version 2", with(kVersion, uint64_t{2}), "version is 2"},
      {"version huge", with(kVersion, ~uint64_t{0}), "version is 18446744073709551615"},
      {"type 0", with(kType, uint8_t{0}), "token type is 0"},
      {"type i8", with(kType, uint8_t{2}), "token type is 2"},
      {"type i16", with(kType, uint8_t{3}), "token type is 3"},
      {"type f64", with(kType, uint8_t{6}), "token type is 6"},
      {"type f32", with(kType, uint8_t{7}), "token type is 7"},
      {"type 9", with(kType, uint8_t{9}), "token type is 9"},
      {"type 255", with(kType, uint8_t{255}), "token type is 255"},
      {"other width", with(kType, uint8_t{4}), "sequence pointer[1] is 4, expected 8"},
      {"narrower", with(kType, uint8_t{1}), "sequence pointer[1] is 4, expected 2"},
      {"sequences 0", with(kSequences, uint64_t{0}), "size"},
      {"sequences one less", with(kSequences, uint64_t{2}), "size"},
      {"sequences one more", with(kSequences, uint64_t{4}), "size"},
      {"sequences 2^63", with(kSequences, kHuge), "number of sequences is 9223372036854775808"},
      {"sequences -1", with(kSequences, ~uint64_t{0}), "number of sequences is 184467440737095516"},
      {"12 S wraps to a fit", with(kSequences, (kHuge >> 1) + 3), "number of sequences"},
      {"boundaries 0", with(kBoundaries, uint64_t{0}), "boundaries is 0"},
      {"boundaries one less", with(kBoundaries, uint64_t{3}), "size"},
      {"boundaries one more", with(kBoundaries, uint64_t{5}), "size"},
      {"boundaries 2^63", with(kBoundaries, kHuge), "boundaries is 9223372036854775808"},
      {"8 B wraps to a fit", with(kBoundaries, (kHuge >> 2) + 4), "number of document boundaries"},
      {"length -1", with(kLengths, int32_t{-1}), "sequence length[0] is -1"},
      {"length least", with(kLengths + 4, INT32_MIN), "sequence length[1] is -2147483648"},
      {"length past .bin", with(kLengths, int32_t{7}), "sequence length[0] is 7, expected 0 to 6"},
      {"length largest", with(kLengths + 8, INT32_MAX), "sequence length[2] is 2147483647"},
      {"length too small", with(kLengths + 8, int32_t{2}), "end of the last sequence is 10"},
      {"length shifts the next", with(kLengths, int32_t{1}), "sequence pointer[1] is 4"},
      {"pointer not 0", with(kPointers, int64_t{2}), "sequence pointer[0] is 2, expected 0"},
      {"pointer negative", with(kPointers, int64_t{-2}), "sequence pointer[0] is -2"},
      {"pointer decreasing", with(kPointers + 8, int64_t{0}), "sequence pointer[1] is 0"},
      {"pointer odd", with(kPointers + 8, int64_t{5}), "sequence pointer[1] is 5"},
      {"pointer past the end", with(kPointers + 16, int64_t{12}), "sequence pointer[2] is 12"},
      {"pointer huge", with(kPointers + 16, INT64_MAX), "sequence pointer[2] is 92233720368547758"},
      {"first boundary", with(kDocuments, int64_t{1}), "document boundary[0] is 1, expected 0"},
      {"boundary negative", with(kDocuments + 8, int64_t{-1}), "document boundary[1] is -1"},
      {"boundary decreasing", with(kDocuments + 16, int64_t{0}), "document boundary[2] is 0"},
      {"boundary past the end", with(kDocuments + 16, int64_t{4}), "document boundary[2] is 4"},
      {"boundary huge", with(kDocuments + 8, INT64_MAX), "document boundary[1] is 92233720368547"},
      {"last boundary", with(kDocuments + 24, int64_t{2}), "last document boundary is 2"},
      {"cut by one byte", good_.substr(0, kEnd - 1), "size"},
      {"one byte more", good_ + "x", "size is 103, expected 102"},
      {"modes", modes, "modes"},
      {"not our file", std::string(kEnd, 'a'), "MMIDIDX"},
      {"bin shorter", good_, "sequence length[2] is 3, expected 0 to 2", 11},
      {"bin odd", good_, "end of the last sequence is 12, expected 13", 13},
      {"bin longer", good_, "end of the last sequence is 12, expected 14", 14},
      {"bin empty", good_, "sequence length[0] is 2, expected 0 to 0", 0},
  };
  for (const Row& row : table) {
    SCOPED_TRACE(row.what);
    expect_message(message_of<DataError>([&] { read(row.bytes, row.bin_bytes); }),
                   {"a.idx", row.field, "expected"});
  }
}

// No single damaged byte of the index passes, and none does worse than an error: every byte has a
// meaning.
TEST_F(MegatronIndexTest, EveryByteIsGuarded) {
  for (size_t at = 0; at < good_.size(); ++at) {
    // A boundary between documents may move and still be one: those 16 bytes are the digest's to
    // guard.
    const bool inner_boundary = at >= kDocuments + 8 && at < kDocuments + 24;
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string bytes = good_;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      const std::string message = message_of<DataError>([&] { read(bytes); });
      EXPECT_TRUE(inner_boundary || !message.empty()) << "byte " << at << " flip " << flip;
    }
  }
}

TEST_F(MegatronIndexTest, MissingFileIsNamed) {
  expect_message(message_of<DataError>([&] { read_megatron_index(folder_ / "no.idx", 12); }),
                 {"no.idx", "No such file"});
}

}  // namespace
}  // namespace dagpam::data

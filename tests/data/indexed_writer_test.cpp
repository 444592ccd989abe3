#include "data/indexed_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <numeric>
#include <vector>

#include "configs/errors.h"
#include "data/digest.h"
#include "data/indexed_dataset.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;

const std::string kMagic("MMIDIDX\0\0", 9);

TEST(IndexedWriterTest, BytesAreMegatronsFormat) {
  const ScratchFolder folder;
  IndexedWriter writer(folder / "a.train", TokenWidth::kU16);
  writer.add_document(Ids{1, 2, 3});
  writer.add_document(Ids{65535});
  writer.finish();
  EXPECT_EQ(read_bytes(folder / "a.train.bin"),
            packed(uint16_t{1}, uint16_t{2}, uint16_t{3}, uint16_t{65535}));
  EXPECT_EQ(
      read_bytes(folder / "a.train.idx"),
      kMagic + packed(uint64_t{1}, uint8_t{8}, uint64_t{2}, uint64_t{3}, int32_t{3}, int32_t{1},
                      int64_t{0}, int64_t{6}, int64_t{0}, int64_t{1}, int64_t{2}));
  EXPECT_EQ(writer.tokens(), 4);
  EXPECT_EQ(writer.documents(), 2);
}

TEST(IndexedWriterTest, WideTokensAreI32) {
  const ScratchFolder folder;
  IndexedWriter writer(folder / "a", TokenWidth::kI32);
  writer.add_document(Ids{70000, 2147483647});
  writer.finish();
  EXPECT_EQ(read_bytes(folder / "a.bin"), packed(int32_t{70000}, int32_t{2147483647}));
  EXPECT_EQ(read_bytes(folder / "a.idx")[17], 4);
}

TEST(IndexedWriterTest, WidthFollowsMegatronsRule) {
  EXPECT_EQ(token_width(1), TokenWidth::kU16);
  EXPECT_EQ(token_width(65499), TokenWidth::kU16);
  EXPECT_EQ(token_width(65500), TokenWidth::kI32);
}

TEST(IndexedWriterTest, PiecesGiveTheSameFilesAsWholes) {
  const ScratchFolder folder;
  Ids ids(1'500'000);  // several buffers
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7 % 65536);
  IndexedWriter whole(folder / "whole", TokenWidth::kU16);
  whole.add_document(ids);
  whole.add_document(Ids{5});
  whole.finish();
  IndexedWriter pieces(folder / "pieces", TokenWidth::kU16);
  const std::span<const int32_t> all(ids);
  for (size_t at = 0, step = 1; at < all.size(); at += step, step = step * 3 % 700'001 + 1) {
    pieces.append(all.subspan(at, std::min(step, all.size() - at)));
  }
  pieces.append({});
  pieces.end_document();
  pieces.end_document();  // nothing since: no document
  pieces.append(Ids{5});
  pieces.finish();  // ends the open one
  EXPECT_EQ(read_bytes(folder / "whole.bin"), read_bytes(folder / "pieces.bin"));
  EXPECT_EQ(read_bytes(folder / "whole.idx"), read_bytes(folder / "pieces.idx"));
  EXPECT_EQ(whole.digest(), pieces.digest());
  EXPECT_EQ(whole.digest(),
            xxh3_hex(read_bytes(folder / "whole.bin") + read_bytes(folder / "whole.idx")));
}

TEST(IndexedWriterTest, LongDocumentBecomesSequencesOfOneDocument) {
  const ScratchFolder folder;
  IndexedWriter writer(folder / "a", TokenWidth::kU16, 4);
  writer.add_document(Ids{0, 1, 2, 3, 4, 5, 6, 7});
  writer.add_document(Ids{8, 9, 10, 11, 12});
  writer.finish();
  EXPECT_EQ(
      read_bytes(folder / "a.idx").substr(18),
      packed(uint64_t{4}, uint64_t{3}, int32_t{4}, int32_t{4}, int32_t{4}, int32_t{1}, int64_t{0},
             int64_t{8}, int64_t{16}, int64_t{24}, int64_t{0}, int64_t{2}, int64_t{4}));
  const auto dataset = open_dataset(folder / "a");
  EXPECT_EQ(dataset->tokens(), 13);
  ASSERT_EQ(dataset->document_starts().size(), 2u);
  EXPECT_EQ(dataset->document_starts()[1], 8);
}

TEST(IndexedWriterTest, UnfinishedWriterLeavesTheFolderAsItWas) {
  const ScratchFolder folder;
  write_bytes(folder / "a.bin", "old");
  write_bytes(folder / "a.idx", "older");
  {
    IndexedWriter writer(folder / "a", TokenWidth::kU16);
    writer.add_document(Ids(1'000'000, 3));
  }
  EXPECT_EQ(folder.names(), (std::set<std::string>{"a.bin", "a.idx"}));
  EXPECT_EQ(read_bytes(folder / "a.bin"), "old");
  EXPECT_EQ(read_bytes(folder / "a.idx"), "older");
}

TEST(IndexedWriterTest, ReplacesAnEarlierDataSet) {
  const ScratchFolder folder;
  for (const int32_t id : {1, 2}) {
    IndexedWriter writer(folder / "a", TokenWidth::kU16);
    writer.add_document(Ids(static_cast<size_t>(id), id));
    writer.finish();
  }
  EXPECT_EQ(folder.names(), (std::set<std::string>{"a.bin", "a.idx"}));
  EXPECT_EQ(open_dataset(folder / "a")->tokens(), 2);
}

TEST(IndexedWriterTest, TwoWritersOfOneNameDoNotMix) {
  const ScratchFolder folder;
  IndexedWriter first(folder / "a", TokenWidth::kU16);
  IndexedWriter second(folder / "a", TokenWidth::kU16);
  first.add_document(Ids(100, 1));
  second.add_document(Ids(50, 2));
  second.finish();
  first.finish();
  EXPECT_EQ(open_dataset(folder / "a")->tokens(), 100);
  EXPECT_EQ(folder.names(), (std::set<std::string>{"a.bin", "a.idx"}));
}

TEST(IndexedWriterTest, RefusesIdsThatDoNotFit) {
  const ScratchFolder folder;
  IndexedWriter narrow(folder / "a", TokenWidth::kU16);
  narrow.append(Ids{1, 2});
  expect_message(message_of<DataError>([&] {
                   narrow.append(Ids{3, 65536});
                 }),
                 {"a.bin", "token 3", "65536", "0 to 65535"});
  IndexedWriter wide(folder / "b", TokenWidth::kI32);
  expect_message(message_of<DataError>([&] { wide.append(Ids{-1}); }), {"b.bin", "token 0", "-1"});
}

TEST(IndexedWriterTest, RefusesAnEmptyText) {
  const ScratchFolder folder;
  {
    IndexedWriter writer(folder / "a", TokenWidth::kU16);
    writer.add_document({});
    expect_message(message_of<DataError>([&] { writer.finish(); }), {"a.bin", "0 tokens", "empty"});
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(IndexedWriterTest, MissingFolderIsNamed) {
  const ScratchFolder folder;
  expect_message(message_of<IoError>([&] { IndexedWriter(folder / "no/a", TokenWidth::kU16); }),
                 {"no/a.bin", "No such file"});
}

// A limit on file sizes stands in for a full disk: write() then fails with EFBIG (and SIGXFSZ,
// ignored).
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit{bytes, old_limit_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(IndexedWriterTest, FullDiskWhileTokensAreWritten) {
  const ScratchFolder folder;
  write_bytes(folder / "a.idx", "older");
  {
    const SmallDisk disk(3'000'000);  // the second write of 2 MiB is short, the rest of it fails
    IndexedWriter writer(folder / "a", TokenWidth::kI32);
    writer.append(Ids(500'000, 1));
    expect_message(message_of<IoError>([&] { writer.append(Ids(500'000, 1)); }),
                   {"a.bin", "write", "File too large"});
  }
  EXPECT_EQ(folder.names(), std::set<std::string>{"a.idx"});
  EXPECT_EQ(read_bytes(folder / "a.idx"), "older");
}

TEST(IndexedWriterTest, FullDiskWhileTheIndexIsWritten) {
  const ScratchFolder folder;
  write_bytes(folder / "a.bin", "old");
  {
    IndexedWriter writer(folder / "a", TokenWidth::kU16);
    for (int i = 0; i < 1000; ++i) writer.add_document(Ids{i});
    const SmallDisk disk(2'100);  // the tokens fit, the index does not
    expect_message(message_of<IoError>([&] { writer.finish(); }),
                   {"a.idx", "write", "File too large"});
  }
  EXPECT_EQ(folder.names(), std::set<std::string>{"a.bin"});
  EXPECT_EQ(read_bytes(folder / "a.bin"), "old");
}

}  // namespace
}  // namespace dagpam::data

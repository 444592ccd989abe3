// What is saved is read back bit for bit, under the same and under any other cut.
#include <gtest/gtest.h>

#include "tests/trainer/checkpoint_fixtures.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint::testing {
namespace {

// Every tensor read whole and cut along each dimension for each number of ranks.
void expect_state(const Checkpoint& checkpoint, const std::vector<TestTensor>& state,
                  int64_t step) {
  for (const TestTensor& tensor : state) {
    SCOPED_TRACE(tensor.name);
    ASSERT_NE(checkpoint.find(tensor.name), nullptr);
    const std::vector<float> all = whole(tensor, step);
    EXPECT_EQ(read(checkpoint, tensor.name, {}, all.size()), all);
    for (int dim = 0; dim < static_cast<int>(tensor.shape.size()); ++dim) {
      for (const int ranks : {1, 2, 3, 4}) {
        for (int rank = 0; rank < ranks; ++rank) {
          const auto [offset, size] = rows_of(tensor.shape[static_cast<size_t>(dim)], rank, ranks);
          const Box part = *slice_of(tensor.shape, dim, offset, size);
          const std::vector<float> expected = part_of(tensor, part, step);
          EXPECT_EQ(read(checkpoint, tensor.name, {dim, offset, size}, expected.size()), expected)
              << "dimension " << dim << ", rank " << rank << " of " << ranks;
        }
      }
    }
  }
}

TEST(CheckpointRoundTrip, ReadsUnderAnyCutWhatAnyNumberOfRanksSaved) {
  for (const int ranks : {1, 2, 3, 4, 7}) {
    SCOPED_TRACE(ranks);
    const TemporaryFolder folder;
    const std::string path = Save{.directory = folder.path(), .ranks = ranks}.run();
    EXPECT_EQ(path, folder.path() + "/step-00000100");
    expect_state(*open_checkpoint(posix_file_system(), path), small_state(), 100);
  }
}

TEST(CheckpointRoundTrip, LargeTensorsOfSeveralBlocks) {
  const TemporaryFolder folder;
  const std::string path = Save{.directory = folder.path(), .state = large_state()}.run();
  const auto checkpoint = open_checkpoint(posix_file_system(), path);
  EXPECT_EQ(checkpoint->manifest().files(2).blocks_size(), 2);
  const TestTensor large = large_state().back();
  EXPECT_EQ(read(*checkpoint, large.name, {}, 2200 * 1024), whole(large, 100));
  const std::vector<float> columns = part_of(large, {{0, 700}, {2200, 100}}, 100);
  EXPECT_EQ(read(*checkpoint, large.name, {1, 700, 100}, columns.size()), columns);
}

TEST(CheckpointRoundTrip, ManifestAndCopiesComeBack) {
  const TemporaryFolder folder;
  const std::string path = Save{.directory = folder.path()}.run();
  const auto checkpoint = open_checkpoint(posix_file_system(), path);
  const configs::Manifest& manifest = checkpoint->manifest();
  EXPECT_EQ(manifest.format_version(), 1);
  EXPECT_EQ(manifest.program_version(), program_version());
  EXPECT_EQ(manifest.run_id(), kRunId);
  EXPECT_EQ(manifest.step(), 100);
  EXPECT_EQ(manifest.tokens_seen(), 123456);
  EXPECT_EQ(manifest.seed(), 1337u);
  EXPECT_EQ(manifest.position().next_sample(), 4800);
  EXPECT_EQ(manifest.position().sources(0).drawn(), 4800);
  EXPECT_EQ(manifest.schedule().lr(), 0.1);  // all bits of a double survive the text
  EXPECT_EQ(manifest.loss(), 1.25);
  EXPECT_EQ(manifest.files_size(), 4);
  EXPECT_EQ(checkpoint->read_copy(kConfigName), copies()[0].bytes);
  EXPECT_EQ(checkpoint->read_copy(kTokenizerName), copies()[1].bytes);
  EXPECT_THROW(checkpoint->read_copy("other"), CheckpointError);
}

TEST(CheckpointRoundTrip, WrongReadsAreRefused) {
  const TemporaryFolder folder;
  const auto checkpoint =
      open_checkpoint(posix_file_system(), Save{.directory = folder.path()}.run());
  EXPECT_EQ(checkpoint->find("no such"), nullptr);
  EXPECT_THROW(read(*checkpoint, "no such", {}, 1), CheckpointError);
  EXPECT_THROW(read(*checkpoint, "embedding.weight", {}, 59), CheckpointError);
  EXPECT_THROW(read(*checkpoint, "embedding.weight", {0, 8, 3}, 18), CheckpointError);
  EXPECT_THROW(read(*checkpoint, "embedding.weight", {0, -1, 1}, 6), CheckpointError);
  EXPECT_THROW(read(*checkpoint, "embedding.weight", {0, INT64_MAX, INT64_MAX}, 6),
               CheckpointError);
  EXPECT_THROW(read(*checkpoint, "embedding.weight", {2, 0, 1}, 6), CheckpointError);
}

TEST(CheckpointRoundTrip, StaysReadableWhenRetentionRemovesIt) {
  const TemporaryFolder folder;
  const std::string path = Save{.directory = folder.path()}.run();
  const auto checkpoint = open_checkpoint(posix_file_system(), path);
  std::filesystem::remove_all(path);
  expect_state(*checkpoint, small_state(), 100);
}

TEST(CheckpointRoundTrip, RanksThatShareTheReadingFindDamageTogether) {
  const TemporaryFolder folder;
  const std::string path = Save{.directory = folder.path(), .state = large_state()}.run();
  const std::string shard = path + "/" + shard_name(1, 2);
  std::string bytes = read_file(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);  // in the second block
  write_file(shard, bytes);
  int found = 0;
  for (int part = 0; part < 3; ++part) {
    try {
      open_checkpoint(posix_file_system(), path, {part, 3});
    } catch (const CheckpointError& error) {
      ++found;
      EXPECT_NE(std::string(error.what()).find("block 1"), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(found, 1);
}

TEST(CheckpointRoundTrip, OtherTypesKeepTheirBits) {
  const TemporaryFolder folder;
  CheckpointWriter writer(posix_file_system(), {folder.path(), 1, kRunId, kLease});
  const std::vector<uint16_t> half{0x3f80, 0xffff,
                                   0x0001};  // BF16, a NaN and a denormal among them
  const std::vector<int64_t> wide{INT64_MIN, -1, INT64_MAX};
  const std::string record =
      writer.write_shard(0, 1,
                         {{"half", "BF16", {3}, {{0}, {3}}, std::as_bytes(std::span(half))},
                          {"wide", "I64", {3}, {{0}, {3}}, std::as_bytes(std::span(wide))}});
  const std::string path = writer.commit(base_manifest(1), {record}, copies());
  const auto checkpoint = open_checkpoint(posix_file_system(), path);
  std::vector<uint16_t> half_back(3);
  std::vector<int64_t> wide_back(2);
  checkpoint->read_tensor("half", TensorRange{}, std::as_writable_bytes(std::span(half_back)));
  checkpoint->read_tensor("wide", TensorRange{0, 1, 2},
                          std::as_writable_bytes(std::span(wide_back)));
  EXPECT_EQ(half_back, half);
  EXPECT_EQ(wide_back, (std::vector<int64_t>{-1, INT64_MAX}));
  // Wider types come first, so each tensor is aligned to its element.
  const InputFile shard(posix_file_system(), path + "/" + shard_name(0, 1));
  const SafetensorsHeader header = read_safetensors_header(shard);
  EXPECT_EQ(header.entries[0].name, "wide");
  EXPECT_EQ(header.entries[0].begin % 8, 0);
}

TEST(CheckpointRoundTrip, DigestsAreXxh3WithCanonicalByteOrder) {
  EXPECT_EQ(digest_of({}), "99aa06d3014798d86001c324468d497f");  // XXH3-128 of no bytes, seed 0
  EXPECT_TRUE(is_digest(digest_of(as_bytes("x"))));
  for (const char* text : {"", "99AA06D3014798D86001C324468D497F",
                           "99aa06d3014798d86001c324468d497", "99aa06d3014798d86001c324468d497g"}) {
    EXPECT_FALSE(is_digest(text)) << text;
  }
}

// For tests/peers/safetensors_read.py, which reads the shards with the Python package.
TEST(CheckpointRoundTrip, LeavesOneForThePeer) {
  const char* directory = ::getenv("DAGPAM_KEEP_CHECKPOINT");
  if (directory == nullptr) GTEST_SKIP() << "DAGPAM_KEEP_CHECKPOINT names no folder";
  Save{.directory = directory}.run();
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

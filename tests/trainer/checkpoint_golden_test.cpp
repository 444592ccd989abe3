// Checkpoints of every format version that was released load bit by bit, for ever. They stand in
// tests/golden/checkpoint_vN; their values are those of checkpoint_fixtures.h.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/trainer/checkpoint_fixtures.h"

namespace dagpam::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

std::string golden(int64_t version) {
  return std::string(DAGPAM_SOURCE_DIR) + "/tests/golden/checkpoint_v" + std::to_string(version) +
         "/step-00000100";
}

TEST(CheckpointGolden, EveryFormatVersionHasOne) {
  for (int64_t version = 1; version <= kFormatVersion; ++version) {
    EXPECT_TRUE(fs::exists(golden(version))) << version;
  }
}

TEST(CheckpointGolden, LoadsBitByBit) {
  for (int64_t version = 1; version <= kFormatVersion; ++version) {
    const auto checkpoint = open_checkpoint(posix_file_system(), golden(version));
    const configs::Manifest& manifest = checkpoint->manifest();
    const configs::Manifest expected = base_manifest(2);
    EXPECT_EQ(manifest.step(), 100);
    EXPECT_EQ(manifest.run_id(), kRunId);
    EXPECT_EQ(manifest.tokens_seen(), expected.tokens_seen());
    EXPECT_EQ(manifest.seed(), expected.seed());
    EXPECT_EQ(manifest.loss(), expected.loss());
    EXPECT_EQ(manifest.schedule().lr(), expected.schedule().lr());
    EXPECT_EQ(manifest.schedule().decay_steps(), expected.schedule().decay_steps());
    EXPECT_EQ(manifest.position().next_sample(), expected.position().next_sample());
    EXPECT_EQ(manifest.position().sources(0).digest(), expected.position().sources(0).digest());
    EXPECT_EQ(manifest.tensors_size(), static_cast<int>(small_state().size()));
    for (const TestTensor& tensor : small_state()) {
      const std::vector<float> values = whole(tensor, 100);
      EXPECT_EQ(read(*checkpoint, tensor.name, {}, values.size()), values) << tensor.name;
    }
    for (const FileCopy& copy : copies()) EXPECT_EQ(checkpoint->read_copy(copy.name), copy.bytes);
  }
}

// DAGPAM_MAKE_GOLDEN=FOLDER writes the one of this program's format, before it is released.
TEST(CheckpointGolden, IsWhatThisProgramWrites) {
  const char* keep = std::getenv("DAGPAM_MAKE_GOLDEN");
  const TemporaryFolder folder(/*in_memory=*/true);
  const std::string path = Save{.directory = keep == nullptr ? folder.path() : keep}.run();
  for (int rank = 0; rank < 2; ++rank) {
    const std::string shard = "/" + shard_name(rank, 2);
    EXPECT_TRUE(read_file(path + shard) == read_file(golden(kFormatVersion) + shard))
        << "a shard's bytes have changed: that is a new format version";
  }
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

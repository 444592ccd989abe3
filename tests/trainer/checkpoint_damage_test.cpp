// Damage by chance: every flipped bit, cut, lengthened, lost, added or exchanged file is found and
// named.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/trainer/checkpoint_fixtures.h"

namespace dagpam::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

// Bits of each shard; DAGPAM_FLIPS=50000 for a long run by hand.
int flips() {
  const char* text = std::getenv("DAGPAM_FLIPS");
  return text == nullptr ? 1000 : std::atoi(text);
}

class CheckpointDamage : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = Save{.directory = folder_.path(), .state = large_state()}.run();
    ASSERT_EQ(problem_of(path_), "");
  }

  std::string file(const std::string& name) const { return path_ + "/" + name; }

  void expect_found(const std::string& named) {
    const std::string problem = problem_of(path_);
    EXPECT_NE(problem.find(named), std::string::npos)
        << "expected the message to name " << named << ", got: '" << problem << "'";
    EXPECT_EQ(problem.find('\n'), std::string::npos);
  }

  // Flips one bit in place, looks, and puts it back.
  void flip(const std::string& name, int64_t byte, int bit, const std::string& named) {
    std::fstream stream(file(name), std::ios::binary | std::ios::in | std::ios::out);
    stream.seekg(byte);
    const char before = static_cast<char>(stream.get());
    const auto put = [&](char value) {
      stream.seekp(byte);
      stream.put(value);
      stream.flush();
    };
    put(static_cast<char>(before ^ (1 << bit)));
    SCOPED_TRACE(name + " byte " + std::to_string(byte) + " bit " + std::to_string(bit));
    expect_found(named);
    put(before);
  }

  TemporaryFolder folder_;
  std::string path_;
};

TEST_F(CheckpointDamage, EveryBitOfTheManifest) {
  const int64_t bytes = static_cast<int64_t>(fs::file_size(file(kManifestName)));
  for (int64_t byte = 0; byte < bytes; ++byte) {
    for (int bit = 0; bit < 8; ++bit) flip(kManifestName, byte, bit, kManifestName);
  }
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointDamage, EveryBitOfTheCopies) {
  for (const std::string& name : {std::string(kConfigName), std::string(kTokenizerName)}) {
    const int64_t bytes = static_cast<int64_t>(fs::file_size(file(name)));
    for (int64_t byte = 0; byte < bytes; ++byte) {
      for (int bit = 0; bit < 8; ++bit) flip(name, byte, bit, name + ": block 0");
    }
  }
}

TEST_F(CheckpointDamage, ManyBitsOfEachShard) {
  std::mt19937_64 random(3);
  for (int rank = 0; rank < 2; ++rank) {
    const std::string name = shard_name(rank, 2);
    const uint64_t bytes = fs::file_size(file(name));
    for (int i = 0; i < flips(); ++i) {
      const int64_t byte = static_cast<int64_t>(random() % bytes);
      flip(name, byte, static_cast<int>(random() % 8),
           name + ": block " + std::to_string(byte / kBlockBytes));
    }
  }
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointDamage, EveryCutAndEveryExtension) {
  for (const std::string& name :
       {std::string(kManifestName), std::string(kConfigName), std::string(kTokenizerName),
        shard_name(0, 2), shard_name(1, 2)}) {
    const std::string whole_file = read_file(file(name));
    const size_t end = whole_file.size();
    const bool is_shard = name.starts_with("shard-");
    uint64_t header = 0;
    if (is_shard) std::memcpy(&header, whole_file.data(), sizeof header);
    const size_t block = static_cast<size_t>(kBlockBytes);
    for (const size_t size : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, header + 7, header + 8,
                              header + 9, block - 1, block, block + 1, end - 1, end + 1, end + 8}) {
      if (size == end || size > end + 8) continue;
      std::string changed = whole_file;
      changed.resize(size, '\0');
      write_file(file(name), changed);
      SCOPED_TRACE(name + " of " + std::to_string(end) + " bytes with " + std::to_string(size));
      expect_found(name);
    }
    write_file(file(name), whole_file);
  }
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointDamage, ManifestLengthenedByItsOwnDigestLine) {
  const std::string text = read_file(file(kManifestName));
  write_file(file(kManifestName), text + text.substr(text.rfind("digest: ")));
  expect_found(kManifestName);
  write_file(file(kManifestName), text + "\n");
  expect_found(kManifestName);
}

TEST_F(CheckpointDamage, MissingAndExtraFiles) {
  for (const std::string& name :
       {std::string(kManifestName), std::string(kConfigName), std::string(kTokenizerName),
        shard_name(0, 2), shard_name(1, 2)}) {
    fs::rename(file(name), folder_.path() + "/away");
    expect_found(name);
    fs::rename(folder_.path() + "/away", file(name));
  }
  for (const std::string& name :
       {shard_name(2, 3), shard_name(0, 1), std::string("notes.txt"), std::string(".hidden")}) {
    write_file(file(name), "x");
    expect_found(name);
    fs::remove(file(name));
  }
  fs::create_directory(file("more"));
  expect_found("more");
  fs::remove(file("more"));
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointDamage, RenamedAndExchangedShards) {
  fs::rename(file(shard_name(1, 2)), file(shard_name(1, 3)));
  expect_found(shard_name(1, 3));
  fs::rename(file(shard_name(1, 3)), file(shard_name(1, 2)));

  fs::rename(file(shard_name(0, 2)), folder_.path() + "/away");
  fs::rename(file(shard_name(1, 2)), file(shard_name(0, 2)));
  fs::rename(folder_.path() + "/away", file(shard_name(1, 2)));
  expect_found(shard_name(0, 2));
}

TEST_F(CheckpointDamage, ShardOfAnotherStepOrRun) {
  const std::string shard = shard_name(1, 2);
  const std::string other_step =
      Save{.directory = folder_.path(), .step = 200, .state = large_state()}.run();
  const TemporaryFolder other_folder;
  const std::string other_run =
      Save{.directory = other_folder.path(), .state = large_state(), .run_id = "run-8"}.run();
  for (const std::string& other : {other_step, other_run}) {
    const std::string bytes = read_file(other + "/" + shard);
    const std::string mine = read_file(file(shard));
    const std::string manifest = read_file(file(kManifestName));
    write_file(file(shard), bytes);
    expect_found(shard);
    // Even with digests made true the shard says whose it is.
    replace_file(path_, shard, bytes);
    expect_found(other == other_run ? "run_id is 'run-8', expected 'run-7'"
                                    : "step is '200', expected '100'");
    write_file(file(shard), mine);
    write_file(file(kManifestName), manifest);
  }
  EXPECT_EQ(problem_of(path_), "");
}

TEST_F(CheckpointDamage, StepFolderUnderAnotherStepsName) {
  const std::string renamed = folder_.path() + "/step-00000300";
  fs::rename(path_, renamed);
  EXPECT_NE(problem_of(renamed).find("holds step 100"), std::string::npos);
  const std::string named = folder_.path() + "/best";  // a name that says nothing may be anything
  fs::rename(renamed, named);
  EXPECT_EQ(problem_of(named), "");
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

// Files that are more than damaged: enormous headers, devices; and the proof that a checkpoint is
// read through the file system's seam alone.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/trainer/checkpoint_fixtures.h"
#include "tests/trainer/memory_file_system.h"

namespace dagpam::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

// A line of /proc/self/status, in MiB.
int64_t status_mib(const std::string& field) {
  const std::string text = read_file("/proc/self/status");
  const size_t at = text.find(field + ":");
  return at == std::string::npos ? 0 : std::stoll(text.substr(at + field.size() + 1)) / 1024;
}

// A shard of `bytes` zeros whose header claims `length` bytes, with true digests.
void make_enormous(const std::string& path, uint64_t length, int64_t bytes) {
  const std::string shard = path + "/" + shard_name(0, 2);
  std::string block(static_cast<size_t>(kBlockBytes), '\0');
  const std::string zeros = digest_of(as_bytes(block));
  const std::string last = digest_of(
      as_bytes(std::string_view(block).substr(0, static_cast<size_t>(bytes % kBlockBytes))));
  std::memcpy(block.data(), &length, sizeof length);
  block[8] = '{';
  write_file(shard, block);
  fs::resize_file(shard, static_cast<uintmax_t>(bytes));
  const std::string first = digest_of(as_bytes(block));
  edit_manifest(path, [&](configs::Manifest& manifest) {
    auto& file = *manifest.mutable_files(2);
    file.set_bytes(bytes);
    file.clear_blocks();
    const int64_t blocks = (bytes + kBlockBytes - 1) / kBlockBytes;
    for (int64_t i = 0; i < blocks; ++i) {
      file.add_blocks(i == 0 ? first : i + 1 == blocks ? last : zeros);
    }
  });
}

TEST(CheckpointHostileFiles, AHundredMegabytesOfHeaderAreNotRead) {
  const TemporaryFolder folder(/*in_memory=*/true);
  const std::string path = Save{.directory = folder.path()}.run();
  make_enormous(path, 100'000'000, 100'000'100);
  ::malloc_trim(0);
  write_file("/proc/self/clear_refs", "5\n");  // the peak starts anew
  const int64_t before = status_mib("VmRSS");
  const std::string problem = problem_of(path);
  EXPECT_NE(problem.find("its length 100000000 passes the end of the file or the limit"),
            std::string::npos)
      << problem;
#ifndef __SANITIZE_ADDRESS__
  EXPECT_LT(status_mib("VmHWM") - before, 64);
#endif
}

TEST(CheckpointHostileFiles, DevicesAreNotOpened) {
  const TemporaryFolder folder(/*in_memory=*/true);
  const std::string path = Save{.directory = folder.path()}.run();
  for (const std::string& name : {std::string(kManifestName), shard_name(1, 2)}) {
    fs::rename(path + "/" + name, folder.path() + "/away");
    if (::mknod((path + "/" + name).c_str(), S_IFCHR | 0600, makedev(1, 5)) != 0) {
      GTEST_SKIP() << "making a device needs root";
    }
    EXPECT_NE(problem_of(path).find(name + ": not a regular file"), std::string::npos);
    fs::remove(path + "/" + name);
    fs::rename(folder.path() + "/away", path + "/" + name);
  }
}

// The folder exists in memory only: whatever went past the seam would find nothing.
TEST(CheckpointHostileFiles, NothingIsReadPastTheSeam) {
  MemoryFileSystem file_system;
  const std::string path = Save{.fs = file_system, .directory = "/nowhere/c"}.run();
  ASSERT_FALSE(fs::exists("/nowhere"));
  {
    const auto checkpoint = open_checkpoint(file_system, path);
    for (const TestTensor& tensor : small_state()) {
      const std::vector<float> expected = whole(tensor, 100);
      EXPECT_EQ(read(*checkpoint, tensor.name, {}, expected.size()), expected) << tensor.name;
    }
  }
  EXPECT_EQ(file_system.open_descriptors(), 0u);
  const std::string manifest = file_system.get(path + "/" + kManifestName);
  std::string body = manifest.substr(0, manifest.rfind("digest: "));
  body.replace(body.find(kConfigName), std::strlen(kConfigName), "../../passwd");
  file_system.put(path + "/" + kManifestName, sealed(body));
  EXPECT_NE(problem_of(path, file_system).find("no folder"), std::string::npos);
  EXPECT_EQ(file_system.open_descriptors(), 0u);
}

}  // namespace
}  // namespace dagpam::checkpoint::testing

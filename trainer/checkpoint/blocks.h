// trainer/checkpoint/blocks.h: files in blocks of 4 MiB, each with its XXH3-128 digest.
//
// Digests are 32 lower-case hex digits in XXH3's canonical byte order (as `xxhsum -H2` prints
// them). They find damage, not forgery. They stand in the manifest: a footer would break the
// safetensors format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/file_operations.h"

namespace dagpam::checkpoint {

inline constexpr int64_t kBlockBytes = int64_t{4} << 20;

std::string digest_of(std::span<const std::byte> bytes);
bool is_digest(std::string_view text);  // 32 lower-case hex digits

struct WrittenFile {
  int64_t bytes = 0;
  std::vector<std::string> blocks;
};

// Writes a file block by block: each block is one write, beside which its digest is made.
class BlockWriter {
 public:
  BlockWriter(FileSystem& fs, const std::string& path);
  void write(std::span<const std::byte> bytes);
  WrittenFile finish();  // the rest, fsync, close

 private:
  void flush();
  void write_block(std::span<const std::byte> block);

  OutputFile file_;
  std::vector<std::byte> buffer_;
  WrittenFile written_;
};

// Reads the whole file (or its first block only) and compares. Throws CheckpointError naming file
// and block. The caller has compared the sizes.
void verify_blocks(const InputFile& file, const std::vector<std::string>& blocks,
                   bool first_block_only);

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

}  // namespace dagpam::checkpoint

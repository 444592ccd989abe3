#include "trainer/checkpoint/blocks.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <future>
#include <optional>

#include "configs/errors.h"

namespace dagpam::checkpoint {
namespace {

// The digest of a block, made by another thread while this one reads or writes. The bytes must
// last as long as this.
class DigestAside {
 public:
  explicit DigestAside(std::span<const std::byte> block) : block_(block) {
    constexpr size_t kWorthAThread = size_t{1} << 20;
    if (block.size() >= kWorthAThread) {
      digest_ = std::async(std::launch::async, [block] { return digest_of(block); });
    }
  }
  std::string get() { return digest_.valid() ? digest_.get() : digest_of(block_); }

 private:
  std::span<const std::byte> block_;
  std::future<std::string> digest_;
};

}  // namespace

std::string digest_of(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : canonical.digest) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

bool is_digest(std::string_view text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

BlockWriter::BlockWriter(FileSystem& fs, const std::string& path) : file_(fs, path) {}

void BlockWriter::write(std::span<const std::byte> bytes) {
  constexpr size_t kBlock = static_cast<size_t>(kBlockBytes);
  while (!bytes.empty()) {
    if (buffer_.empty() && bytes.size() >= kBlock) {  // whole blocks need no copy
      write_block(bytes.first(kBlock));
      bytes = bytes.subspan(kBlock);
      continue;
    }
    const std::span<const std::byte> part =
        bytes.first(std::min(kBlock - buffer_.size(), bytes.size()));
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (buffer_.size() == kBlock) flush();
  }
}

void BlockWriter::flush() {
  write_block(buffer_);
  buffer_.clear();
}

void BlockWriter::write_block(std::span<const std::byte> block) {
  DigestAside digest(block);
  file_.write(block);
  written_.blocks.push_back(digest.get());
  written_.bytes += static_cast<int64_t>(block.size());
}

WrittenFile BlockWriter::finish() {
  if (!buffer_.empty()) flush();
  file_.finish();
  return written_;
}

void verify_blocks(const InputFile& file, const std::vector<std::string>& blocks,
                   bool first_block_only) {
  const size_t count = first_block_only ? std::min<size_t>(1, blocks.size()) : blocks.size();
  const auto bytes_of = [&](size_t block) {
    return std::min(kBlockBytes, file.bytes() - static_cast<int64_t>(block) * kBlockBytes);
  };
  const auto compare = [&](size_t block, const std::string& found) {
    if (found == blocks[block]) return;
    const int64_t begin = static_cast<int64_t>(block) * kBlockBytes;
    throw CheckpointError(file.path() + ": block " + std::to_string(block) + " (bytes " +
                          std::to_string(begin) + " to " + std::to_string(begin + bytes_of(block)) +
                          ") has digest " + found + ", MANIFEST.textproto says " + blocks[block] +
                          ": the file is damaged; choose another checkpoint");
  };
  // One block is read while the digest of the one before is made.
  std::array<std::vector<std::byte>, 2> buffers;
  std::optional<DigestAside> before;
  for (size_t i = 0; i < count; ++i) {
    std::vector<std::byte>& buffer = buffers[i % 2];
    buffer.resize(static_cast<size_t>(bytes_of(i)));
    file.read(static_cast<int64_t>(i) * kBlockBytes, buffer);
    if (before) compare(i - 1, before->get());
    before.emplace(buffer);
  }
  if (before) compare(count - 1, before->get());
}

}  // namespace dagpam::checkpoint

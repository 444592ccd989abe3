#include "trainer/checkpoint/blocks.h"

#include <xxhash.h>

#include <algorithm>

#include "configs/errors.h"

namespace dagpam::checkpoint {

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
  while (!bytes.empty()) {
    const size_t room = static_cast<size_t>(kBlockBytes) - buffer_.size();
    const std::span<const std::byte> part = bytes.first(std::min(room, bytes.size()));
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (buffer_.size() == static_cast<size_t>(kBlockBytes)) flush();
  }
}

void BlockWriter::flush() {
  file_.write(buffer_);
  written_.blocks.push_back(digest_of(buffer_));
  written_.bytes += static_cast<int64_t>(buffer_.size());
  buffer_.clear();
}

WrittenFile BlockWriter::finish() {
  if (!buffer_.empty()) flush();
  file_.finish();
  return written_;
}

void verify_blocks(const InputFile& file, const std::vector<std::string>& blocks,
                   bool first_block_only) {
  const size_t count = first_block_only ? std::min<size_t>(1, blocks.size()) : blocks.size();
  std::vector<std::byte> buffer;
  for (size_t i = 0; i < count; ++i) {
    const int64_t begin = static_cast<int64_t>(i) * kBlockBytes;
    buffer.resize(static_cast<size_t>(std::min(kBlockBytes, file.bytes() - begin)));
    file.read(begin, buffer);
    const std::string found = digest_of(buffer);
    if (found == blocks[i]) continue;
    throw CheckpointError(file.path() + ": block " + std::to_string(i) + " (bytes " +
                          std::to_string(begin) + " to " +
                          std::to_string(begin + static_cast<int64_t>(buffer.size())) +
                          ") has digest " + found + ", MANIFEST.textproto says " + blocks[i] +
                          ": the file is damaged; choose another checkpoint");
  }
}

}  // namespace dagpam::checkpoint

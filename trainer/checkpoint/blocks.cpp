#include "trainer/checkpoint/blocks.h"

#include <xxhash.h>

#include <algorithm>
#include <future>
#include <memory>

#include "configs/errors.h"

namespace dagpam::checkpoint {
namespace {

// XXH3-128 of bytes that come in pieces.
class Digest {
 public:
  Digest() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }
  void update(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  std::string finish() {
    const std::string text = to_text(XXH3_128bits_digest(state_.get()));
    XXH3_128bits_reset(state_.get());
    return text;
  }
  static std::string to_text(const XXH128_hash_t& hash) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (const unsigned char byte : canonical.digest) {
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

}  // namespace

std::string digest_of(std::span<const std::byte> bytes) {
  return Digest::to_text(XXH3_128bits(bytes.data(), bytes.size()));
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

// A whole block's digest is made by a thread of its own while the block is written. Small ones are
// not worth it.
void BlockWriter::write_block(std::span<const std::byte> block) {
  constexpr size_t kWorthAThread = size_t{1} << 20;
  const auto policy = block.size() < kWorthAThread ? std::launch::deferred : std::launch::async;
  std::future<std::string> digest = std::async(policy, digest_of, block);
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
  // Pieces stay in the cache between reading and digesting; whole blocks would not.
  constexpr int64_t kPiece = int64_t{1} << 20;
  const size_t count = first_block_only ? std::min<size_t>(1, blocks.size()) : blocks.size();
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(kPiece, file.bytes())));
  Digest digest;
  for (size_t i = 0; i < count; ++i) {
    const int64_t begin = static_cast<int64_t>(i) * kBlockBytes;
    const int64_t end = std::min(begin + kBlockBytes, file.bytes());
    for (int64_t at = begin; at < end; at += kPiece) {
      const auto piece = std::span(buffer).first(static_cast<size_t>(std::min(kPiece, end - at)));
      file.read(at, piece);
      digest.update(piece);
    }
    const std::string found = digest.finish();
    if (found == blocks[i]) continue;
    throw CheckpointError(file.path() + ": block " + std::to_string(i) + " (bytes " +
                          std::to_string(begin) + " to " + std::to_string(end) + ") has digest " +
                          found + ", MANIFEST.textproto says " + blocks[i] +
                          ": the file is damaged; choose another checkpoint");
  }
}

}  // namespace dagpam::checkpoint

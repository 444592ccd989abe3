#include "data/stream_digest.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <new>

namespace dagpam::data {

struct StreamDigest::State {
  XXH3_state_t* xxh3 = XXH3_createState();
  State() {
    if (xxh3 == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(xxh3);
  }
  ~State() { XXH3_freeState(xxh3); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

StreamDigest::StreamDigest() : state_(std::make_unique<State>()) {}
StreamDigest::~StreamDigest() = default;
StreamDigest::StreamDigest(StreamDigest&&) noexcept = default;
StreamDigest& StreamDigest::operator=(StreamDigest&&) noexcept = default;

void StreamDigest::update(const void* bytes, size_t size) {
  if (size > 0) XXH3_128bits_update(state_->xxh3, bytes, size);
}

void StreamDigest::update(const InputFile& file) {
  std::array<char, 65536> block;
  for (int64_t at = 0; at < file.size();) {
    const auto length = std::min<int64_t>(file.size() - at, block.size());
    file.read(at, block.data(), static_cast<size_t>(length));
    update(block.data(), static_cast<size_t>(length));
    at += length;
  }
}

std::string StreamDigest::hex() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh3));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : canonical.digest) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15u]);
  }
  return text;
}

}  // namespace dagpam::data

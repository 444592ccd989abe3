// data/stream_digest.h: XXH3-128 of bytes that pass by in pieces; the same text as xxh3_hex of
// their whole.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "data/input_file.h"

namespace dagpam::data {

class StreamDigest {
 public:
  StreamDigest();
  ~StreamDigest();
  StreamDigest(StreamDigest&&) noexcept;
  StreamDigest& operator=(StreamDigest&&) noexcept;

  void update(const void* bytes, size_t size);
  void update(const InputFile& file);  // all of its bytes
  std::string hex() const;             // 32 lower-case hex digits, of what came so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dagpam::data

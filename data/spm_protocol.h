// data/spm_protocol.h: what `dagpam` and `dagpam-tokenize serve` say to each other.
//
// A request is its kind (one byte), the number of bytes that follow (u32) and these; an answer is
// its status, the number, the bytes. The first request brings the model. Numbers lie as in memory:
// both ends are on one machine and of one build.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dagpam::data {

enum class SpmRequest : uint8_t {
  kModel = 'M',   // bytes of a .model file -> SpmFacts
  kEncode = 'E',  // UTF-8 text -> its ids, i32 each
  kDecode = 'D',  // ids, i32 each -> text
};

enum class SpmStatus : uint8_t {
  kDone = 0,
  kRefused = 1,  // the bytes are a message of one line
};

struct SpmHead {
  uint8_t kind = 0;  // SpmRequest or SpmStatus
  uint8_t unused[3] = {};
  uint32_t bytes = 0;
};
static_assert(sizeof(SpmHead) == 8);

// A request may not be larger; `data prepare` sends pieces of 1 MiB, or a line where that is
// longer.
inline constexpr uint32_t kSpmLargest = uint32_t{1} << 30;

inline constexpr int32_t kSpmProtocol = 1;

// Of a model. Ids are -1 where it has none.
struct SpmFacts {
  int32_t protocol = kSpmProtocol;
  int32_t vocab = 0;
  int32_t pad = -1, unknown = -1, bos = -1, eos = -1;
  int32_t line_end = -1;  // what '\n' becomes

  bool operator==(const SpmFacts&) const = default;
};

}  // namespace dagpam::data

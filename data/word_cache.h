// data/word_cache.h: token ids of words that were encoded before.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dagpam::data {

// Fixed size: when it is full it forgets everything and fills again. One thread at a time.
class WordCache {
 public:
  // Longer words are not kept.
  static constexpr size_t kMostBytes = 64;

  WordCache();

  // Where a word is or would go. Good until the next insert.
  struct Place {
    size_t slot = 0;
    uint64_t hash = 0;
  };

  // Finds `word` (at most kMostBytes). Its ids, empty where it is not there; then insert at
  // `place`.
  std::span<const int32_t> find(std::string_view word, Place& place) const;

  // `word` is not there, and `ids` are not empty.
  void insert(const Place& place, std::string_view word, std::span<const int32_t> ids);

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t word = 0, ids = 0;     // first place in the arenas
    uint16_t bytes = 0, count = 0;  // count 0: free
  };

  std::vector<Slot> slots_;  // open addressing, at most half full
  std::string words_;
  std::vector<int32_t> ids_;
  size_t used_ = 0;
};

}  // namespace dagpam::data

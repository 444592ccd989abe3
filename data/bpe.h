// data/bpe.h: byte-pair merges (Sennrich et al., 2016).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dagpam::data {

// The merges of a vocabulary. Immutable; any thread may call.
class BpeMerges {
 public:
  struct Merge {
    int32_t left = 0, right = 0, result = 0;  // token ids, all >= 0
  };

  // By rank: the first merge goes first. Throws DataError naming the rank where a pair is there
  // twice.
  explicit BpeMerges(std::span<const Merge> by_rank);

  // Appends what is left of `symbols` when, as long as there is one, the neighbouring pair of
  // lowest rank (the leftmost of several) has been replaced by its result. n log n in the number of
  // symbols.
  void apply(std::span<const int32_t> symbols, std::vector<int32_t>& out) const;

 private:
  struct Slot {
    uint64_t pair = kEmpty;
    int32_t rank = kNoRank;
    int32_t result = -1;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static constexpr int32_t kNoRank = INT32_MAX;

  const Slot& find(int32_t left, int32_t right) const;  // rank kNoRank: no such merge
  void apply_by_scan(std::span<const int32_t> symbols, std::vector<int32_t>& out) const;
  void apply_by_queue(std::span<const int32_t> symbols, std::vector<int32_t>& out) const;

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  int shift_ = 0;
};

}  // namespace dagpam::data

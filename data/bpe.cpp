#include "data/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <queue>
#include <string>

#include "configs/errors.h"

namespace dagpam::data {
namespace {

// Up to this many symbols a scan for the lowest rank beats the queue.
constexpr size_t kScanSymbols = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Fibonacci hashing: the top bits of a product with 2^64 / golden ratio.
size_t start_of(uint64_t pair, int shift) {
  return static_cast<size_t>((pair * 0x9E3779B97F4A7C15u) >> shift);
}

}  // namespace

BpeMerges::BpeMerges(std::span<const Merge> by_rank) {
  slots_.resize(std::bit_ceil(std::max<size_t>(2 * by_rank.size(), 2)));
  shift_ = 64 - std::countr_zero(slots_.size());
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    const uint64_t pair = pair_of(by_rank[rank].left, by_rank[rank].right);
    size_t i = start_of(pair, shift_);
    while (slots_[i].pair != kEmpty) {
      if (slots_[i].pair == pair) {
        throw DataError("merge " + std::to_string(rank) + " repeats merge " +
                        std::to_string(slots_[i].rank));
      }
      i = (i + 1) & (slots_.size() - 1);
    }
    slots_[i] = {pair, static_cast<int32_t>(rank), by_rank[rank].result};
  }
}

const BpeMerges::Slot& BpeMerges::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  size_t i = start_of(pair, shift_);
  while (slots_[i].pair != pair && slots_[i].pair != kEmpty) i = (i + 1) & (slots_.size() - 1);
  return slots_[i];
}

void BpeMerges::apply(std::span<const int32_t> symbols, std::vector<int32_t>& out) const {
  if (symbols.size() <= kScanSymbols) {
    apply_by_scan(symbols, out);
  } else {
    apply_by_queue(symbols, out);
  }
}

void BpeMerges::apply_by_scan(std::span<const int32_t> symbols, std::vector<int32_t>& out) const {
  std::array<int32_t, kScanSymbols> ids;
  std::array<const Slot*, kScanSymbols> merges;  // [i]: of symbols i and i + 1
  size_t size = symbols.size();
  std::copy(symbols.begin(), symbols.end(), ids.begin());
  for (size_t i = 0; i + 1 < size; ++i) merges[i] = &find(ids[i], ids[i + 1]);
  while (size > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < size; ++i) {
      if (merges[i]->rank < merges[best]->rank) best = i;
    }
    if (merges[best]->rank == kNoRank) break;
    ids[best] = merges[best]->result;
    --size;
    for (size_t i = best + 1; i < size; ++i) ids[i] = ids[i + 1];
    for (size_t i = best; i + 1 < size; ++i) merges[i] = merges[i + 1];
    if (best + 1 < size) merges[best] = &find(ids[best], ids[best + 1]);
    if (best > 0) merges[best - 1] = &find(ids[best - 1], ids[best]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(size));
}

void BpeMerges::apply_by_queue(std::span<const int32_t> symbols, std::vector<int32_t>& out) const {
  struct Node {
    int32_t id;
    size_t previous, next;  // kNone at the ends
  };
  struct Candidate {
    int32_t rank;
    size_t left;
    uint64_t pair;  // what was there: a candidate of symbols that changed since is stale
    int32_t result;
    bool operator<(const Candidate& other) const {  // the queue gives the largest first
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  constexpr size_t kNone = SIZE_MAX;
  std::vector<Node> nodes(symbols.size());
  std::priority_queue<Candidate> queue;
  const auto offer = [&](size_t left) {
    const int32_t a = nodes[left].id, b = nodes[nodes[left].next].id;
    const Slot& merge = find(a, b);
    if (merge.rank != kNoRank) queue.push({merge.rank, left, pair_of(a, b), merge.result});
  };
  for (size_t i = 0; i < nodes.size(); ++i) {
    nodes[i] = {symbols[i], i == 0 ? kNone : i - 1, i + 1 == nodes.size() ? kNone : i + 1};
  }
  for (size_t i = 0; i + 1 < nodes.size(); ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Node& left = nodes[best.left];
    if (left.id < 0 || left.next == kNone) continue;
    Node& right = nodes[left.next];
    if (pair_of(left.id, right.id) != best.pair) continue;
    left.id = best.result;
    left.next = right.next;
    right.id = -1;
    if (left.next != kNone) {
      nodes[left.next].previous = best.left;
      offer(best.left);
    }
    if (left.previous != kNone) offer(left.previous);
  }
  for (size_t i = 0; i != kNone; i = nodes[i].next) out.push_back(nodes[i].id);
}

}  // namespace dagpam::data

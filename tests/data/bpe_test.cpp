// Byte-pair merges against the published algorithm, written as it is described.
#include "data/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "configs/errors.h"
#include "scratch_folder.h"

namespace dagpam::data {
namespace {

using Ids = std::vector<int32_t>;
using Merges = std::vector<BpeMerges::Merge>;

// Find the pair of lowest rank, replace all its occurrences from the left, start again.
Ids merge_as_published(Ids symbols, const Merges& merges) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    ranks[{merges[rank].left, merges[rank].right}] = rank;
  }
  while (true) {
    size_t best = merges.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found != ranks.end()) best = std::min(best, found->second);
    }
    if (best == merges.size()) return symbols;
    Ids next;
    for (size_t i = 0; i < symbols.size(); ++i) {
      const bool here = i + 1 < symbols.size() && symbols[i] == merges[best].left &&
                        symbols[i + 1] == merges[best].right;
      next.push_back(here ? merges[best].result : symbols[i]);
      i += here ? 1 : 0;
    }
    symbols = next;
  }
}

// A vocabulary as training makes it: each merge joins two symbols that are there already.
Merges random_merges(std::mt19937& random, int32_t letters, int32_t count) {
  Merges merges;
  std::map<std::pair<int32_t, int32_t>, bool> used;
  while (static_cast<int32_t>(merges.size()) < count) {
    std::uniform_int_distribution<int32_t> any(0,
                                               letters + static_cast<int32_t>(merges.size()) - 1);
    const int32_t left = any(random), right = any(random);
    if (!used.emplace(std::pair{left, right}, true).second) continue;
    merges.push_back({left, right, letters + static_cast<int32_t>(merges.size())});
  }
  return merges;
}

TEST(BpeMergesTest, EqualsPublishedAlgorithmOnShortAndLongWords) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 60; ++trial) {
    const int32_t letters = 2 + trial % 4;
    const Merges merges = random_merges(random, letters, 3 + trial);
    const BpeMerges bpe(merges);
    std::uniform_int_distribution<int32_t> letter(0, letters - 1);
    for (const size_t size : {0, 1, 2, 3, 7, 20, 47, 48, 49, 50, 100, 300}) {
      Ids symbols(size), merged{-7};
      for (auto& symbol : symbols) symbol = letter(random);
      bpe.apply(symbols, merged);
      ASSERT_EQ(merged.front(), -7);  // appended, not overwritten
      merged.erase(merged.begin());
      ASSERT_EQ(merged, merge_as_published(symbols, merges)) << trial << " " << size;
    }
  }
}

TEST(BpeMergesTest, NoMergesLeaveTheSymbols) {
  const BpeMerges bpe({});
  Ids out;
  bpe.apply(Ids{3, 1, 2}, out);
  EXPECT_EQ(out, (Ids{3, 1, 2}));
}

// A million equal symbols in one word: with time n^2 this would run for hours.
TEST(BpeMergesTest, LongWordIsNotQuadratic) {
  const BpeMerges bpe(Merges{{0, 0, 1}, {1, 1, 2}, {2, 2, 3}});
  Ids out;
  bpe.apply(Ids(1'000'001, 0), out);
  EXPECT_EQ(out.size(), 125'001u);
  EXPECT_EQ(out.front(), 3);
  EXPECT_EQ(out.back(), 0);
}

TEST(BpeMergesTest, RepeatedPairIsRefused) {
  const Merges merges{{0, 1, 2}, {1, 0, 3}, {0, 1, 4}};
  expect_message(message_of<DataError>([&] { BpeMerges bpe(merges); }), {"merge 2", "merge 0"});
}

}  // namespace
}  // namespace dagpam::data

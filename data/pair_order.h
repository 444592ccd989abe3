// data/pair_order.h: which sentence pairs make a step, and in which order the steps come.
//
// In each epoch the pairs are permuted, the permutation is cut into pools of about equal size, each
// pool is sorted by length and cut into batches of at most batch_tokens padded tokens a side (rows
// x longest sentence of either side), the last two of about one size, and the batches of all pools
// are permuted. So a batch holds
// pairs of about one length, and who stands beside whom changes with the epoch. Both permutations
// have keys of (seed, the data's digest, epoch): the order is the same whatever the ranks are and
// wherever a run was stopped. Every pair is in one batch of an epoch.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace dagpam::data {

// Tokens of the longer and of the shorter side.
struct PairLength {
  int32_t longer = 0, shorter = 0;
};

struct PairOrderOptions {
  uint64_t seed = 0;
  int64_t batch_tokens = 0;  // at least the longest sentence
  int64_t pool_pairs = 0;    // pairs a pool; 0: as many as fill about 100 batches
};

// Ends of the runs into which `order` is cut, so that rows x longest(pair) <= batch_tokens in each
// and as many rows are taken as go; a run of one pair may be longer than that.
std::vector<int64_t> cut_by_tokens(std::span<const int64_t> order, int64_t batch_tokens,
                                   const std::function<int64_t(int64_t)>& longest);

class PairOrder {
 public:
  PairOrder(const PairOrderOptions& options, const std::string& digest,
            std::vector<PairLength> lengths);

  struct Step {
    int64_t epoch = 0;               // from 0
    int64_t first_sample = 0;        // global index of the first pair; the others follow
    std::span<const int64_t> pairs;  // good until the next call
  };
  Step next();

  int64_t pairs() const { return static_cast<int64_t>(lengths_.size()); }  // an epoch
  int64_t next_sample() const;                                             // of the next step
  int64_t batches_of_epoch() const { return static_cast<int64_t>(ends_.size()); }  // this one

  // Goes on with the first batch that begins at `next_sample` or behind it: with the same options
  // and data exactly there. DataError where it is negative.
  void restore(int64_t next_sample);

 private:
  void enter_epoch(int64_t epoch);
  void cut_pool(int64_t begin, int64_t end);
  int64_t longer(int64_t place) const;  // of the pair at a place of order_

  PairOrderOptions options_;
  uint64_t key_;
  std::vector<PairLength> lengths_;
  int64_t epoch_ = 0;
  int64_t used_ = 0;               // pairs of this epoch
  int64_t batch_ = 0;              // next one, in keyed order
  std::vector<int64_t> order_;     // pairs of this epoch, batch by batch
  std::vector<int64_t> ends_;      // of the batches in order_
  std::vector<int64_t> sequence_;  // batches in keyed order
};

}  // namespace dagpam::data

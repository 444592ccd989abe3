#include "data/pair_order.h"

#include <xxhash.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "configs/errors.h"
#include "data/permutation.h"

namespace dagpam::data {
namespace {

constexpr int64_t kBatchesInPool = 100;

int64_t default_pool(const std::vector<PairLength>& lengths, int64_t batch_tokens) {
  int64_t tokens = 0;
  for (const PairLength& length : lengths) tokens += length.longer;
  const double mean = static_cast<double>(tokens) / static_cast<double>(lengths.size());
  const double pairs = static_cast<double>(kBatchesInPool * batch_tokens) / mean;
  return std::max<int64_t>(1, static_cast<int64_t>(pairs));
}

}  // namespace

std::vector<int64_t> cut_by_tokens(std::span<const int64_t> order, int64_t batch_tokens,
                                   const std::function<int64_t(int64_t)>& longest) {
  std::vector<int64_t> ends;
  int64_t begin = 0, widest = 0;
  for (int64_t i = 0; i < std::ssize(order); ++i) {
    const int64_t length = longest(order[static_cast<size_t>(i)]);
    const int64_t wider = std::max(widest, length);
    if (i > begin && (i - begin + 1) * wider > batch_tokens) {
      ends.push_back(i);
      begin = i;
      widest = length;
    } else {
      widest = wider;
    }
  }
  if (!order.empty()) ends.push_back(std::ssize(order));
  return ends;
}

PairOrder::PairOrder(const PairOrderOptions& options, const std::string& digest,
                     std::vector<PairLength> lengths)
    : options_(options),
      key_(XXH3_64bits_withSeed(digest.data(), digest.size(), options.seed)),
      lengths_(std::move(lengths)) {
  if (options_.pool_pairs < 1) options_.pool_pairs = default_pool(lengths_, options_.batch_tokens);
  enter_epoch(0);
}

void PairOrder::enter_epoch(int64_t epoch) {
  const uint64_t key = epoch_key(key_, epoch);
  const int64_t count = pairs();
  const Permutation permutation(key, count);
  epoch_ = epoch;
  used_ = batch_ = 0;
  order_.resize(lengths_.size());
  for (int64_t i = 0; i < count; ++i) order_[static_cast<size_t>(i)] = permutation(i);
  ends_.clear();
  const int64_t pools = std::max<int64_t>(1, count / options_.pool_pairs);
  for (int64_t pool = 0; pool < pools; ++pool) {
    // pool * count / pools without overflow: count < 2^40
    const int64_t begin = pool * (count / pools) + pool * (count % pools) / pools;
    const int64_t end = (pool + 1) * (count / pools) + (pool + 1) * (count % pools) / pools;
    cut_pool(begin, end);
  }
  const Permutation batches(mix_bits(~key), batches_of_epoch());
  sequence_.resize(ends_.size());
  for (int64_t i = 0; i < batches_of_epoch(); ++i) sequence_[static_cast<size_t>(i)] = batches(i);
}

int64_t PairOrder::longer(int64_t place) const {
  return lengths_[static_cast<size_t>(order_[static_cast<size_t>(place)])].longer;
}

void PairOrder::cut_pool(int64_t begin, int64_t end) {
  const auto members =
      std::span(order_).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  const auto length = [this](int64_t pair) { return lengths_[static_cast<size_t>(pair)]; };
  // Stable: pairs of the same lengths stay in the epoch's order.
  std::stable_sort(members.begin(), members.end(), [&](int64_t a, int64_t b) {
    const PairLength left = length(a), right = length(b);
    return std::tie(left.longer, left.shorter) < std::tie(right.longer, right.shorter);
  });
  std::vector<int64_t> ends = cut_by_tokens(
      members, options_.batch_tokens, [&](int64_t pair) { return int64_t{length(pair).longer}; });
  if (ends.size() > 1) {
    // The rest may be a pair or two, whose step would be as large as any: it takes pairs of the
    // batch before as long as that stays the fuller one.
    const int64_t first = ends.size() > 2 ? ends[ends.size() - 3] : 0, last = ends.back();
    int64_t& cut = ends[ends.size() - 2];
    while (cut - first > 1 && (last - cut + 1) * longer(begin + last - 1) <=
                                  (cut - 1 - first) * longer(begin + cut - 2)) {
      --cut;
    }
  }
  for (const int64_t cut : ends) ends_.push_back(begin + cut);
}

PairOrder::Step PairOrder::next() {
  if (batch_ == batches_of_epoch()) enter_epoch(epoch_ + 1);
  const auto batch = static_cast<size_t>(sequence_[static_cast<size_t>(batch_++)]);
  const int64_t begin = batch == 0 ? 0 : ends_[batch - 1];
  const auto size = static_cast<size_t>(ends_[batch] - begin);
  const Step step{epoch_, next_sample(),
                  std::span(order_).subspan(static_cast<size_t>(begin), size)};
  used_ += static_cast<int64_t>(size);
  return step;
}

int64_t PairOrder::next_sample() const { return epoch_ * pairs() + used_; }

void PairOrder::restore(int64_t next_sample) {
  if (next_sample < 0) {
    throw DataError("the saved position is sample " + std::to_string(next_sample) +
                    ", expected a number from 0");
  }
  enter_epoch(next_sample / pairs());
  while (this->next_sample() < next_sample) next();
}

}  // namespace dagpam::data

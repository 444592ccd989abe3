#include "data/sample_order.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "configs/errors.h"

namespace dagpam::data {
SourceOrder::SourceOrder(uint64_t seed, const std::string& digest, int64_t tokens, int64_t context)
    : key_(XXH3_64bits_withSeed(digest.data(), digest.size(), seed)),
      context_(context),
      windows_(std::max<int64_t>(1, tokens / context - 1)),
      shifts_(std::min(context, tokens - windows_ * context)),
      permutation_(0, windows_) {
  enter_epoch(0);
}

void SourceOrder::enter_epoch(int64_t epoch) {
  const uint64_t key = epoch_key(key_, epoch);
  epoch_ = epoch;
  shift_ = scale_bits(mix_bits(~key), shifts_);
  permutation_ = Permutation(key, windows_);
}

int64_t SourceOrder::offset(int64_t draw) {
  const int64_t epoch = draw / windows_;
  if (epoch != epoch_) enter_epoch(epoch);
  return shift_ + permutation_(draw % windows_) * context_;
}

SampleOrder::SampleOrder(std::vector<SourceOrder> sources, const std::vector<double>& weights)
    : sources_(std::move(sources)), blend_(weights) {}

SamplePlace SampleOrder::next() {
  const size_t source = blend_.next();
  const int64_t draw = blend_.drawn()[source] - 1;
  return {next_sample_++, source, sources_[source].offset(draw)};
}

void SampleOrder::skip(int64_t count) {
  blend_.skip(count);
  next_sample_ += count;
}

int64_t SampleOrder::samples_per_epoch() const {
  return std::accumulate(
      sources_.begin(), sources_.end(), int64_t{0},
      [](int64_t sum, const SourceOrder& source) { return sum + source.windows(); });
}

void SampleOrder::restore(int64_t next_sample, const std::vector<int64_t>& drawn,
                          const std::vector<int64_t>& drawn_before_weights) {
  if (next_sample < 0) {
    throw DataError("the saved position is sample " + std::to_string(next_sample) +
                    ", expected a number from 0");
  }
  if (drawn.empty()) {
    skip(next_sample - next_sample_);
    return;
  }
  int64_t left = next_sample;
  for (const int64_t count : drawn) {
    if (count < 0 || count > left) left = -1;
    if (left >= 0) left -= count;
  }
  if (left != 0) {
    throw DataError("the saved position is sample " + std::to_string(next_sample) +
                    ", but the samples of its sources do not sum to it: the checkpoint is damaged");
  }
  blend_.restore(drawn, drawn_before_weights);
  next_sample_ = next_sample;
}

}  // namespace dagpam::data

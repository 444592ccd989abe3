// data/sample_order.h: from the global sample index to a place in the data.
//
// Every sample is a window of context + 1 tokens. An epoch of a source shifts the windows by a
// keyed offset in [0, context), lays floor(tokens / context) - 1 of them side by side (at least
// one; that many fit behind every shift, so all epochs have the same number), each starting on the
// last token of the one before, and takes them in a keyed order. Less than 2 context tokens are
// left out of an epoch, other ones each time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "data/blend.h"
#include "data/permutation.h"

namespace dagpam::data {

// The samples of one source. The same for the same (seed, digest, tokens, context), wherever it
// stands in a mixture.
class SourceOrder {
 public:
  SourceOrder(uint64_t seed, const std::string& digest, int64_t tokens, int64_t context);

  int64_t windows() const { return windows_; }  // samples an epoch

  // First token of the draw-th sample, draw >= 0. Fast where draws mostly stay in one epoch.
  int64_t offset(int64_t draw);

 private:
  void enter_epoch(int64_t epoch);

  uint64_t key_;
  int64_t context_;
  int64_t windows_;
  int64_t shifts_;  // number of different ones
  int64_t epoch_ = 0;
  int64_t shift_ = 0;
  Permutation permutation_;
};

// A sample's place in a mixture.
struct SamplePlace {
  int64_t sample = 0;  // global index
  size_t source = 0;
  int64_t offset = 0;  // first token
};

// The samples of a mixture in order.
class SampleOrder {
 public:
  SampleOrder(std::vector<SourceOrder> sources, const std::vector<double>& weights);

  SamplePlace next();
  void skip(int64_t count);

  int64_t next_sample() const { return next_sample_; }
  const std::vector<int64_t>& drawn() const { return blend_.drawn(); }
  const std::vector<int64_t>& drawn_before_weights() const { return blend_.since(); }
  int64_t samples_per_epoch() const;  // sum over sources

  // Goes on after `next_sample` samples. With the counts of drawn() and drawn_before_weights() at
  // once (data/blend.h says what becomes of new weights), else (empty) by walking there. Throws
  // DataError where the counts do not fit.
  void restore(int64_t next_sample, const std::vector<int64_t>& drawn,
               const std::vector<int64_t>& drawn_before_weights);

 private:
  std::vector<SourceOrder> sources_;
  Blend blend_;
  int64_t next_sample_ = 0;
};

}  // namespace dagpam::data

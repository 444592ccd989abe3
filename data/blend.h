// data/blend.h: which source of a mixture the next sample comes from.
//
// A fixed sequence, the same for the same weights: after any n samples each source has given within
// 1 of n times its share (R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32,
// 1980). Shares are weights / sum, rounded to multiples of 2^-32 that sum to 1; the arithmetic is
// in whole numbers. The state is the counts alone, so a run goes on where it stopped in constant
// time. Where a run goes on with other weights, the bound holds from there on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dagpam::data {

class Blend {
 public:
  // Weights are finite and not negative, their sum is positive; else ConfigError.
  explicit Blend(const std::vector<double>& weights);

  size_t next();             // the source of the next sample; a source of weight 0 is never drawn
  void skip(int64_t count);  // as `count` calls of next(); in constant time for one source

  const std::vector<int64_t>& drawn() const { return drawn_; }  // samples from each source so far

  // What drawn() was when these weights came into force: zeros, unless restore() saw them change.
  const std::vector<int64_t>& since() const { return since_; }

  // Goes on from what drawn() and since() gave. Where these weights cannot have led from one to the
  // other they are new, and their balance starts here. Throws DataError where the counts make no
  // sense.
  void restore(const std::vector<int64_t>& drawn, const std::vector<int64_t>& since);

 private:
  std::vector<int64_t> shares_;   // in units of 2^-32, sum 2^32
  std::vector<int64_t> credits_;  // n share - drawn, same unit; n and drawn counted from since_
  std::vector<int64_t> drawn_, since_;
};

}  // namespace dagpam::data

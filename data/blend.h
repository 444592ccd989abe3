// data/blend.h: which source of a mixture the next sample comes from.
//
// A fixed sequence, the same for the same weights: after any n samples each source has given within
// 1 of n times its share (R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32,
// 1980). Shares are weights / sum, rounded to multiples of 2^-32 that sum to 1; the arithmetic is
// in whole numbers. The state is the counts alone, so a run goes on where it stopped in constant
// time.
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

  // Goes on from counts that drawn() gave. Throws DataError where these weights cannot have led to
  // them.
  void restore(const std::vector<int64_t>& drawn);

 private:
  std::vector<int64_t> shares_;   // in units of 2^-32, sum 2^32
  std::vector<int64_t> credits_;  // n share - drawn, same unit
  std::vector<int64_t> drawn_;
};

}  // namespace dagpam::data

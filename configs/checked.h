// configs/checked.h: arithmetic on sizes that came from outside, which may be anything.
#pragma once

#include <cstdint>
#include <optional>

namespace dagpam::configs {

// a * b, or nothing where it does not fit.
inline std::optional<int64_t> checked_multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// The divisor of `number` (1 or more) nearest to `wanted`, the smaller one of two equally near.
inline int64_t nearest_divisor(int64_t number, int64_t wanted) {
  int64_t best = 1;
  const auto consider = [&](int64_t divisor) {
    const int64_t now = best > wanted ? best - wanted : wanted - best;
    const int64_t then = divisor > wanted ? divisor - wanted : wanted - divisor;
    if (then < now || (then == now && divisor < best)) best = divisor;
  };
  for (int64_t i = 1; i <= number / i; ++i) {
    if (number % i != 0) continue;
    consider(i);
    consider(number / i);
  }
  return best;
}

}  // namespace dagpam::configs

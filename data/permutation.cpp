#include "data/permutation.h"

#include <cmath>

namespace dagpam::data {
namespace {

int64_t root_rounded_up(int64_t n) {
  auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
  while (root * root < n) ++root;
  while (root > 1 && (root - 1) * (root - 1) >= n) --root;
  return root;
}

// (value + pad) mod n, both in [0, n)
int64_t add_modulo(int64_t value, int64_t pad, int64_t n) {
  const int64_t sum = value + pad;
  return sum < n ? sum : sum - n;
}

}  // namespace

Permutation::Permutation(uint64_t key, int64_t n)
    : n_(n), a_(root_rounded_up(n)), b_((n + a_ - 1) / a_) {
  for (uint64_t& round_key : keys_) {
    key += 0x9e3779b97f4a7c15u;
    round_key = mix_bits(key);
  }
}

int64_t Permutation::operator()(int64_t i) const {
  do {
    int64_t l = i % a_, r = i / a_;
    for (size_t round = 0; round < kRounds; round += 2) {
      const uint64_t from_r = mix_bits(keys_[round] ^ static_cast<uint64_t>(r));
      l = add_modulo(l, scale_bits(from_r, a_), a_);
      const uint64_t from_l = mix_bits(keys_[round + 1] ^ static_cast<uint64_t>(l));
      r = add_modulo(r, scale_bits(from_l, b_), b_);
    }
    i = r * a_ + l;
  } while (i >= n_);
  return i;
}

}  // namespace dagpam::data

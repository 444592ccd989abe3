// data/permutation.h: a keyed shuffle of [0, n) that stores nothing.
//
// A Feistel network on pairs (l, r) in [0, a) x [0, b) with a b >= n, each round a sum modulo a or
// b, walked on while its value falls outside [0, n) (Black and Rogaway, "Ciphers with Arbitrary
// Finite Domains", 2002: the generalized Feistel cipher with cycle walking). A bijection for every
// key and n, by construction; not meant to withstand an attacker.
#pragma once

#include <array>
#include <cstdint>

namespace dagpam::data {

// One step of a 64-bit counter-based generator: distinct inputs give distinct, well mixed outputs.
constexpr uint64_t mix_bits(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// `bits`, uniform over 64 bits, to [0, n), n >= 1.
constexpr int64_t scale_bits(uint64_t bits, int64_t n) {
  return static_cast<int64_t>((static_cast<unsigned __int128>(bits) * static_cast<uint64_t>(n)) >>
                              64);
}

// The key of an epoch, of a source whose own is `source_key`.
constexpr uint64_t epoch_key(uint64_t source_key, int64_t epoch) {
  return mix_bits(source_key + static_cast<uint64_t>(epoch) * 0x9e3779b97f4a7c15u);
}

class Permutation {
 public:
  Permutation(uint64_t key, int64_t n);  // 1 <= n < 2^62

  int64_t operator()(int64_t i) const;  // i in [0, n)

 private:
  static constexpr int kRounds = 8;
  int64_t n_;
  int64_t a_;  // about sqrt(n)
  int64_t b_;  // least with a b >= n
  std::array<uint64_t, kRounds> keys_;
};

}  // namespace dagpam::data

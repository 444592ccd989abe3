// Compiled with -mavx2: includes nothing whose inline functions other files could come to share.
#include <immintrin.h>

#include <cstdint>

#include "parallel/random_rows.h"
#include "parallel/random_rows_kernel.h"

namespace dagpam::parallel::detail {
namespace {

// Philox on four counters: one word of each counter in the low half of each 64-bit lane. The high
// halves hold leftovers that the 32 x 32 multiplication ignores.
struct Four {
  __m256i w0, w1, w2, w3;
};

struct Keys {
  __m256i k0[10], k1[10];
};

inline Keys make_keys(uint64_t key) {
  Keys keys;
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    keys.k0[round] = _mm256_set1_epi64x(k0);
    keys.k1[round] = _mm256_set1_epi64x(k1);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return keys;
}

inline Four one_round(const Four& c, __m256i k0, __m256i k1) {
  const __m256i p0 = _mm256_mul_epu32(c.w0, _mm256_set1_epi64x(0xD2511F53));
  const __m256i p1 = _mm256_mul_epu32(c.w2, _mm256_set1_epi64x(0xCD9E8D57));
  return {_mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c.w1, k0)), p1,
          _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c.w3, k1)), p0};
}

// Words in the order of plain Philox: the four of the first counter, then of the second, ...
inline void store(const Four& c, uint32_t* words) {
  const __m256i w01 = _mm256_blend_epi32(c.w0, _mm256_slli_epi64(c.w1, 32), 0xAA);
  const __m256i w23 = _mm256_blend_epi32(c.w2, _mm256_slli_epi64(c.w3, 32), 0xAA);
  const __m256i even = _mm256_unpacklo_epi64(w01, w23);  // counters 0 and 2
  const __m256i odd = _mm256_unpackhi_epi64(w01, w23);   // counters 1 and 3
  auto* out = reinterpret_cast<__m256i*>(words);
  _mm256_store_si256(out, _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_store_si256(out + 1, _mm256_permute2x128_si256(even, odd, 0x31));
}

struct Avx2Draw {
  // Draws up to the next multiple of 8 counters; the buffer has room for them.
  static void draw(const DropoutRow& row, uint32_t first_counter, int64_t counters,
                   uint32_t* words) {
    const Keys keys = make_keys(row.key);
    const __m256i steps = _mm256_set_epi64x(3, 2, 1, 0);
    // Two chains, because one round's multiplication waits for the round before.
    for (int64_t i = 0; i < counters; i += 8) {
      const auto at = static_cast<uint32_t>(first_counter + static_cast<uint32_t>(i));
      Four a = {_mm256_add_epi64(_mm256_set1_epi64x(at), steps), _mm256_set1_epi64x(row.c1),
                _mm256_set1_epi64x(row.c2), _mm256_set1_epi64x(row.c3)};
      Four b = {_mm256_add_epi64(a.w0, _mm256_set1_epi64x(4)), a.w1, a.w2, a.w3};
      for (int round = 0; round < 10; ++round) {
        a = one_round(a, keys.k0[round], keys.k1[round]);
        b = one_round(b, keys.k0[round], keys.k1[round]);
      }
      store(a, words + 4 * i);
      store(b, words + 4 * i + 16);
    }
  }
};

}  // namespace

const RowKernels* avx2_row_kernels() {
  return __builtin_cpu_supports("avx2") ? &kKernels<Avx2Draw> : nullptr;
}

}  // namespace dagpam::parallel::detail

// parallel/dropout_mask.h: a dropout mask element by element, as a function that the CUDA kernel
// and host tests compile alike (C++17, nothing of the standard library, nothing of LibTorch). The
// CPU's own loops (random_rows.h) give the same bits, and tests hold them to that.
//
// A mask is rows of `width` elements. Row r of a [B, heads, tokens] box of rows belongs to token
// first_token + r % tokens, head first_head + r / tokens % heads, sample samples[r / tokens /
// heads]. See parallel/random.h for the counters.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define DAGPAM_HOST_DEVICE __host__ __device__
#else
#define DAGPAM_HOST_DEVICE
#endif

namespace dagpam::parallel {

struct DropoutMask {
  uint64_t key = 0;
  const uint64_t* lying_key = nullptr;  // where the mask is drawn; in the place of `key`
  uint32_t threshold = 0;               // dropout_threshold(p)
  double keep_scale = 1;                // 1 / (1 - p), rounded to the element type before use
  int64_t rows = 0, width = 0;
  int64_t tokens = 1, heads = 1;
  int64_t first_token = 0, first_head = 0;
};

struct PhiloxWords {
  uint32_t word[4];
};

// Philox4x32-10, as parallel/random.h has it.
DAGPAM_HOST_DEVICE inline PhiloxWords philox_words(PhiloxWords counter, uint64_t key) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * counter.word[0], p1 = 0xCD9E8D57ull * counter.word[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter.word[1] ^ k0, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter.word[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// The words of elements 4 * quad to 4 * quad + 3 of a row: each kept where >= threshold.
DAGPAM_HOST_DEVICE inline PhiloxWords dropout_words(const DropoutMask& mask, const int64_t* samples,
                                                    int64_t row, int64_t quad) {
  const int64_t token = mask.first_token + row % mask.tokens;
  const int64_t head = mask.first_head + row / mask.tokens % mask.heads;
  const int64_t sample = samples[row / mask.tokens / mask.heads];
  return philox_words({{static_cast<uint32_t>(quad), static_cast<uint32_t>(token),
                        static_cast<uint32_t>(head), static_cast<uint32_t>(sample)}},
                      mask.lying_key == nullptr ? mask.key : *mask.lying_key);
}

// y <- x * keep_scale where kept, else +0, for the four elements; without x: keep_scale or +0.
// Pointers are of the whole tensors.
template <class Real>
DAGPAM_HOST_DEVICE inline void dropout_quad(const DropoutMask& mask, const int64_t* samples,
                                            int64_t row, int64_t quad, const Real* x, Real* y) {
  const PhiloxWords words = dropout_words(mask, samples, row, quad);
  const Real keep = static_cast<Real>(mask.keep_scale);
  for (int i = 0; i < 4; ++i) {
    const int64_t column = 4 * quad + i;
    if (column >= mask.width) return;
    const int64_t at = row * mask.width + column;
    const Real kept = x == nullptr ? keep : x[at] * keep;
    y[at] = words.word[i] >= mask.threshold ? kept : Real(0);
  }
}

DAGPAM_HOST_DEVICE inline int64_t dropout_quads(const DropoutMask& mask) {
  return (mask.width + 3) / 4;
}

}  // namespace dagpam::parallel

// parallel/random.h: random numbers that do not depend on the layout.
//
// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a pure
// function from a 64-bit key and a 128-bit counter to 128 bits. Each use has its own key, each
// element its own counter, so any rank can make any part of a global random tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "parallel/parameter.h"

namespace dagpam::parallel {

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, uint64_t key) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * counter[0], p1 = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// Where in the model and in the run a dropout mask is drawn.
enum class DropoutSite : uint32_t {
  kEmbedding = 0,
  kAttentionWeights = 1,
  kAttentionOut = 2,
  kMlpOut = 3,
  kCrossAttentionWeights = 4,
  kCrossAttentionOut = 5
};
inline constexpr int64_t kDropoutSites = 6;

// Key of one dropout mask. Counters, by site:
//   k...AttentionWeights  (key / 4, query, global head, low 32 bits of the global sample index)
//   all others            (channel / 4, token, 0,       low 32 bits of the global sample index)
// Word (key % 4) or (channel % 4) of the result decides: kept where word >= p * 2^32.
uint64_t dropout_key(uint64_t seed, int64_t step, int64_t layer, DropoutSite site);

// A mask's key, by value; or, where `lying` is defined, as it lies there when the mask is drawn, on
// the device of what is masked: a launch that is recorded once and repeated in other steps then
// draws with theirs.
struct DropoutKey {
  // NOLINTNEXTLINE(google-explicit-constructor): a number is a key.
  DropoutKey(uint64_t number = 0, at::Tensor key = {}) : value(number), lying(std::move(key)) {}
  uint64_t value;
  at::Tensor lying;  // [] int64, the key's bits
};
uint64_t key_on_host(const DropoutKey& key);  // of one that is a value or lies on the CPU

// Smallest kept word: p * 2^32 rounded, for p in [0, 1).
uint32_t dropout_threshold(double p);

// y = x * kept / (1 - p), the mask drawn again in backward (nothing is stored).
// x [B, T, C] float32, float64 or bfloat16, contiguous, token t of it the sequence's token
// first_token + t; samples [B] int64, on the same device, global sample index of each row. p = 0
// returns x itself. The same bits on the CPU and on GPUs.
at::Tensor dropout(const at::Tensor& x, const at::Tensor& samples, double p, const DropoutKey& key,
                   int64_t first_token = 0);

// Key of the stochastic rounding of a parameter's masters after a step (master_weights.h). Counters
// (element / 8, 0, 0) of the global tensor; 16 bits an element, low halves first.
uint64_t rounding_key(uint64_t seed, int64_t step, std::string_view name);

// Fills `value` with the initial numbers of its part of the global tensor.
void initialise(const at::Tensor& value, const ShardSpec& shard, const Init& init, uint64_t seed,
                std::string_view name);

}  // namespace dagpam::parallel

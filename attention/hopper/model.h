// attention/hopper/model.h: the algorithm of the fused kernels in plain C++, with their tiles,
// their order of sums, their saved statistics and their rounding, one thread and no hurry. It is
// what the kernels are held against where there is no GPU, and the oracle holds it.
//
// Forward, a block of 64 queries, for each map: over tiles of 128 keys S = Q K^T; running maximum
// and sum; P = 2^(c S - c max) is rounded, O += P V. Y = c+ O+ + c- O-. Kept for backward: O+ and
// O- in the inputs' type, and both maps' log2 of the sum of 2^(c S). (O+ follows from Y and O- too,
// but with three roundings of Y's size in place of one of its own: then a row with one visible key
// has gradients that should be 0, and 1 + l+ = 0 has none at all.) Backward, a block of 128 keys,
// over tiles of 64 queries: dA = dY V^T once for both maps, dS = c P (dA - d), A = c+ P+ + c- P-; A
// and dS are rounded; dV += A^T dY, dK += dS+^T Q + dS-^T Q-, and each block adds its dS K to
// float32 buffers for dQ+ and dQ-.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/hopper/tile.h"

namespace dagpam::attention::hopper {

// Of the inputs' type and of everything that the kernels keep in it.
enum class Rounding { kNone, kBf16, kFp16 };
float rounded(float x, Rounding rounding);

// Contiguous, values already of the rounded type.
struct ModelProblem {
  int64_t batch = 1, queries = 1, keys = 1, heads = 1, kv_heads = 1, width = 1;
  const float* q = nullptr;                         // [B, N, H, D]
  const float* q_neg = nullptr;                     // [B, N, H, D]; nullptr: ReLU(q) w_neg
  const float* w_neg = nullptr;                     // [H, D, D]; nullptr with q_neg
  const float *k = nullptr, *v = nullptr;           // [B, M, Hkv, D]
  const float *plus = nullptr, *minus = nullptr;    // [H], float32 always
  const int32_t *first = nullptr, *last = nullptr;  // [B, N] visible keys, within [0, M]
  Rounding rounding = Rounding::kNone;

  float scale() const;  // of the scores: D^-0.5
  int64_t query_tiles() const { return tiles(queries, kQueryTile); }
};

struct ModelAnswer {
  std::vector<float> y;      // [B, N, H, D]
  std::vector<float> o;      // [2, B, N, H, D], O+ and O-
  std::vector<float> lse2;   // [2, B, H, tiles * 64]; 0 for rows that see nothing
  std::vector<float> q_neg;  // [B, N, H, D], what the scores used
};
ModelAnswer model_forward(const ModelProblem& problem);

struct ModelGradients {
  std::vector<float> dq;             // [B, N, H, D]; through the map too where w_neg is given
  std::vector<float> dq_neg;         // [B, N, H, D]
  std::vector<float> dw_neg;         // [H, D, D] where w_neg is given
  std::vector<float> dk, dv;         // [B, M, Hkv, D]
  std::vector<float> dplus, dminus;  // [H]
  std::vector<float> rows;           // [B, H, tiles, 4, 64]: lse2+, lse2-, d+, d- of preprocessing
};
// dQ's sums over tiles of keys: from the first on, or from the last on, as with turns.
ModelGradients model_backward(const ModelProblem& problem, const ModelAnswer& answer,
                              const float* dy, bool last_keys_first = false);

}  // namespace dagpam::attention::hopper

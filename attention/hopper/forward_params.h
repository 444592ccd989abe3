// attention/hopper/forward_params.h: what the forward kernel is called with, and its shared memory.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width, T query
// tiles.
#pragma once

#include "attention/hopper/kernel_parts.h"

namespace dagpam::attention::hopper {

struct ForwardParams {
  Sight sight;
  int32_t heads = 0, group = 0;                   // H, H / Hkv
  const float *plus = nullptr, *minus = nullptr;  // l+, l- [H] or [1]
  int32_t lambda_stride = 0;                      // 1 or 0
  bool forms_q_neg = false;                       // ReLU(Q) W_neg, else Q- is read
  float scale2 = 0;                               // D^-0.5 log2 e
  uint16_t* y = nullptr;                          // [B, N, H, D]
  uint16_t* o = nullptr;                          // [2, B, N, H, D]: O+ and O-; may be nullptr
  uint16_t* q_neg = nullptr;                      // [B, N, H, D], where it is formed and wanted
  float* lse2 = nullptr;                          // [2, B, H, T 64]; may be nullptr
  int32_t batch = 0;
  int32_t section = 1;  // heads that run at the same time, of B H (heads_a_section)
  int32_t blocks = 1;   // of the launch; tile i is block i mod `blocks`'s

  DAGPAM_BOTH Factors factors(int32_t h) const {
    return factors_of(plus[h * lambda_stride], minus[h * lambda_stride]);
  }
};

template <class TensorMap>
struct ForwardMaps {
  TensorMap q, q_neg;  // boxes of 64 rows and 64 columns
  TensorMap k, v;      // of 128 rows
  TensorMap w_neg;     // [D][D] of each head, D rows
};

template <int D>
struct ForwardShared {
  static constexpr int kStages = D == 64 ? 4 : 2;
  static constexpr uint32_t kQ = 0, kQNeg = kQ + tile_bytes(kQueryTile, D);
  static constexpr uint32_t kKeys = kQNeg + tile_bytes(kQueryTile, D);
  static constexpr uint32_t kValues = kKeys + kStages * tile_bytes(kKeyTile, D);
  static constexpr uint32_t kHandedOver = kValues + kStages * tile_bytes(kKeyTile, D);
  static constexpr uint32_t kBarriers = kHandedOver + kQueryTile * D * 4;
  static constexpr uint32_t kBytes = kBarriers + 8 * (2 + 4 * kStages);
};

}  // namespace dagpam::attention::hopper

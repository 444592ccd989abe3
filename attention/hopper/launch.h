// attention/hopper/launch.h: the fused kernels of sm_90 by pointers, on a stream; nothing waits for
// the device. All pointers are device memory. Knows no torch and no CUDA; in a build without
// CUDA a twin refuses.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width (64 or 128),
// T query tiles of 64, U key tiles of 128.
#pragma once

#include <cstdint>

#include "attention/hopper/tensor_map.h"
#include "attention/hopper/tile.h"

namespace dagpam::attention::hopper {

bool built();  // whether the kernels are in this program

// 10 major + minor of a device's compute capability; 0 where the program has no CUDA.
int architecture(int device);

// What forward and backward both take.
struct Problem {
  Type type = Type::kBf16;
  int64_t batch = 0, queries = 0, keys = 0, heads = 0, kv_heads = 0, width = 0;
  Operand q, k, v;                                // [B, N, H, D], [B, M, Hkv, D] twice
  Operand q_neg;                                  // [B, N, H, D], read where w_neg is nullptr
  const void* w_neg = nullptr;                    // [H, D, D] contiguous: Q- is formed inside
  const float *plus = nullptr, *minus = nullptr;  // l+, l-
  bool lambda_of_head = false;                    // [H], else [1]
  bool causal = true;                             // where there are no bounds
  const int32_t* bounds = nullptr;  // [2, B or 1, N]: first visible key, one past the last; or none
  bool bounds_of_batch = false;     // B of them
  TileRange* ranges = nullptr;      // [B or 1, T], where there are bounds: forward fills it
  void* stream = nullptr;           // cudaStream_t
};

struct ForwardResult {
  void* y = nullptr;      // [B, N, H, D] contiguous, as all below
  void* q_neg = nullptr;  // [B, N, H, D] where it is formed and backward will want it
  void* o = nullptr;      // [2, B, N, H, D] O+ and O-; nullptr where no backward follows
  float* lse2 = nullptr;  // [2, B, H, T 64], with `o`
};
void forward(const Problem& problem, const ForwardResult& result);

struct BackwardBuffers {
  const void* dy = nullptr;     // [B, N, H, D] contiguous, as all below
  const void* q_neg = nullptr;  // what forward used
  const void* o = nullptr;      // forward's
  const float* lse2 = nullptr;  // forward's
  uint32_t* rows = nullptr;  // [B, H, T, kRowWords, 64]; d+ and d- in it, whose sums over B and T
                             // are the gradients of l+ and, negated, of l-
  float* dq_sums = nullptr;  // [2, B, H, T, D / 64, 4096], 0
  int32_t* turns = nullptr;  // [B, H, T, 2], 0: sums in a fixed order; nullptr: in any
  void* dq = nullptr;        // [B, N, H, D]; through the map too where w_neg is set
  void* dq_neg = nullptr;    // [B, N, H, D], where w_neg is not set
  float* dw_runs = nullptr;  // [B, finish_runs(N), H, D, D], where it is: dW_neg is their sum
  void *dk = nullptr, *dv = nullptr;  // [B, M, Hkv, D]
};
void backward(const Problem& problem, const BackwardBuffers& buffers);

}  // namespace dagpam::attention::hopper

// attention/cpu_head_map.h: ReLU(Q) W, one small matrix a head, and its gradients. Knows no torch.
//
// Legend: B batch, N queries, H heads, D head width.
#pragma once

#include <cstdint>

#include "attention/cpu_problem.h"

namespace dagpam::attention::cpu {

template <typename T>
struct HeadMap {
  int64_t batch = 0, queries = 0, heads = 0, width = 0;
  Rows<T> q;
  const T* w = nullptr;   // [H, D, D] contiguous
  bool residual = false;  // Q + ReLU(Q) W
};

// out [B, N, H, D] contiguous. Tasks are blocks of rows, independent of each other.
template <typename T>
int64_t head_map_tasks(const HeadMap<T>& map);
template <typename T>
void head_map_forward(const HeadMap<T>& map, T* out, int64_t first_task, int64_t last_task);

template <typename T>
struct HeadMapGradients {
  Rows<T> d_out;
  T* dq = nullptr;  // [B, N, H, D] contiguous
  T* dw = nullptr;  // [H, D, D] contiguous, zero before
};

// Tasks are heads.
template <typename T>
void head_map_backward(const HeadMap<T>& map, const HeadMapGradients<T>& gradients,
                       int64_t first_head, int64_t last_head);

}  // namespace dagpam::attention::cpu

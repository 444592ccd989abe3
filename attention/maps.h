// attention/maps.h: what every variant of this folder comes down to, once queries are mapped and
// rotated: one or two softmax maps over the same keys and values,
//   Y = (1 + l+) softmax(Q K^T / sqrt D) V - l- softmax(Q- K^T / sqrt D) V, or Y = softmax(Q K^T /
//   sqrt D) V.
#pragma once

#include <ATen/core/Tensor.h>

#include "attention/attention.h"

namespace dagpam::attention {

struct Maps {
  at::Tensor q;            // [B, N, H, D]
  at::Tensor q_neg;        // [B, N, H, D]; undefined where there is one map
  at::Tensor k, v;         // [B, M, Hkv, D]
  at::Tensor plus, minus;  // [H] or [1]; undefined where there is one map
  at::Tensor bounds;       // [2, B or 1, N] int32, of key_bounds()
};

// First visible key and one past the last of each query, cut to [0, M]: [2, B or 1, N] int32 on the
// CPU. Throws c10::Error where `visibility` has other shapes or types than attention.h says.
at::Tensor key_bounds(const Visibility& visibility, int64_t batch, int64_t queries, int64_t keys);

// The same on any device, where visibility's tensors are too, by tensor operations: no host wait.
at::Tensor device_key_bounds(const Visibility& visibility, int64_t batch, int64_t queries,
                             int64_t keys, at::Device device);

}  // namespace dagpam::attention

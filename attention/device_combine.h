// attention/device_combine.h: combine_row.h over the tensors of a GPU. On the current stream, no
// host wait. Throws c10::Error in a build without CUDA.
//
// Legend: B batch, N queries, H query heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include "attention/combine_row.h"

namespace dagpam::attention {

// both [B, N, 2 H, D] as `shape` says, float32 or bfloat16; plus and minus float32, [H] or [1], of
// both's device. -> y [B, N, H, D].
at::Tensor device_combine(const CombineShape& shape, const at::Tensor& both, const at::Tensor& plus,
                          const at::Tensor& minus);

// dy [B, N, H, D] contiguous -> d_both [B, N, 2 H, D] contiguous. `sums`, float32 [H, 2], becomes
// the sums of dY O+ and dY O- by head, the same bits each time.
at::Tensor device_combine_backward(const CombineShape& shape, const at::Tensor& both,
                                   const at::Tensor& plus, const at::Tensor& minus,
                                   const at::Tensor& dy, at::Tensor& sums);

}  // namespace dagpam::attention

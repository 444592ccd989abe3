// parallel/device_dropout.h: dropout masks on a GPU, bit for bit those of the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/dropout_mask.h"
#include "parallel/random.h"

namespace dagpam::parallel {

// y <- x masked, or, x undefined, the mask's factors. x and y float32 or float64, contiguous, of
// mask.rows x mask.width elements; samples int64 and where it lies the key, on y's device. On the
// current stream, no host wait. Throws c10::Error in a build without CUDA.
void apply_device_dropout(DropoutMask mask, const DropoutKey& key, const at::Tensor& samples,
                          const at::Tensor& x, at::Tensor& y);

}  // namespace dagpam::parallel

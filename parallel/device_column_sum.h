// parallel/device_column_sum.h: the sum of a matrix over its rows on a GPU, as a bias's gradient
// is.
#pragma once

#include <ATen/core/Tensor.h>

namespace dagpam::parallel {

// Whether device_column_sum takes x: float32 or bfloat16 on a GPU, in a build with CUDA.
bool has_device_column_sum(const at::Tensor& x);

// out [C] <- (with `add` the sum of it and) the sum of x [R, C] over its rows, added in float32 in
// an order that depends on the shape alone; out is contiguous, of x's type and device. On the
// current stream, no host wait. Throws c10::Error, always in a build without CUDA.
void device_column_sum(const at::Tensor& x, bool add, const at::Tensor& out);

}  // namespace dagpam::parallel

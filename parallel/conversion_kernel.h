// parallel/conversion_kernel.h: launches conversion_part.h on a GPU. For
// device_conversions_cuda.cpp.
#pragma once

#include "parallel/conversion_part.h"

namespace dagpam::parallel {

// Of `blocks` blocks in all, on the stream (a cudaStream_t). Give the launch's cudaError_t.
int launch_conversions(const ConversionCall<rows::Bf16, float>& call, int32_t blocks, void* stream);
int launch_conversions(const ConversionCall<float, rows::Bf16>& call, int32_t blocks, void* stream);

}  // namespace dagpam::parallel

// parallel/dropout_kernel.h: launches dropout_mask.h on a GPU. For device_dropout_cuda.cpp.
#pragma once

#include <cstdint>

#include "parallel/dropout_mask.h"

namespace dagpam::parallel {

// y [rows, width] <- x masked, or the mask's factors where x is null. Pointers of the GPU's memory;
// `stream` is a cudaStream_t. Returns the launch's cudaError_t.
int launch_dropout(const DropoutMask& mask, const int64_t* samples, const float* x, float* y,
                   void* stream);
int launch_dropout(const DropoutMask& mask, const int64_t* samples, const double* x, double* y,
                   void* stream);

}  // namespace dagpam::parallel

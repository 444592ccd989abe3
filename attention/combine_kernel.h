// attention/combine_kernel.h: launches combine_row.h on a GPU. For device_combine_cuda.cpp.
//
// Pointers are of the GPU's memory, `stream` is a cudaStream_t, and each gives the launch's
// cudaError_t. `pack` is 8, 4 or 1 elements read at once: it divides the width and all steps, and
// the tensors start at multiples of it.
#pragma once

#include <cstdint>

#include "attention/combine_row.h"

namespace dagpam::attention {

// Blocks that share a head's tokens: the parts that the backward kernel leaves of each sum.
int64_t combine_parts(const CombineShape& shape);

int launch_combine(const CombineShape& shape, int pack, const float* plus, const float* minus,
                   const float* both, float* y, void* stream);
int launch_combine(const CombineShape& shape, int pack, const float* plus, const float* minus,
                   const Bits16* both, Bits16* y, void* stream);

// parts [H, combine_parts, 2]: of the sums of dY O+ and dY O-.
int launch_combine_backward(const CombineShape& shape, int pack, const float* plus,
                            const float* minus, const float* both, const float* dy, float* d_both,
                            float* parts, void* stream);
int launch_combine_backward(const CombineShape& shape, int pack, const float* plus,
                            const float* minus, const Bits16* both, const Bits16* dy,
                            Bits16* d_both, float* parts, void* stream);

}  // namespace dagpam::attention

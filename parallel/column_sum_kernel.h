// parallel/column_sum_kernel.h: sums over the rows of a matrix on a GPU, in float32 and in a fixed
// order, in two steps: each part of the rows, then the parts. For .cpp files that launch kernels.
//
// Pointers are of the GPU's memory, `stream` is a cudaStream_t, and each gives the launch's
// cudaError_t.
#pragma once

#include "parallel/column_sum_part.h"

namespace dagpam::parallel {

// parts [tiles.parts, C] <- the sums of each part's rows. tiles.pack is 1 or the widest, which then
// divides C and the row step, and x starts at 16 bytes.
int launch_column_parts(const ColumnTiles& tiles, const ColumnSumProblem<float>& problem,
                        float* parts, void* stream);
int launch_column_parts(const ColumnTiles& tiles, const ColumnSumProblem<rows::Bf16>& problem,
                        float* parts, void* stream);

// out [C] <- (with `add` the sum of it and) the sum of parts [count, C] over the parts.
int launch_column_sums(const float* parts, int64_t count, int64_t width, bool add, float* out,
                       void* stream);
int launch_column_sums(const float* parts, int64_t count, int64_t width, bool add, rows::Bf16* out,
                       void* stream);

}  // namespace dagpam::parallel

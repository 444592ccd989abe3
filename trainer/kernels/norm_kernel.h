// trainer/kernels/norm_kernel.h: launches norm_part.h on a GPU. For device_norm_cuda.cpp.
//
// `packed`: widths are multiples of 16 bytes and all rows start at such, so that 16 bytes are read
// at once. `stream` is a cudaStream_t. Each launch gives its cudaError_t.
#pragma once

#include "trainer/kernels/norm_part.h"

namespace dagpam::trainer::kernels {

inline constexpr int64_t kWidestNorm = 8192;

int launch_norm(const NormProblem<float>& problem, bool packed, void* stream);
int launch_norm(const NormProblem<parallel::rows::Bf16>& problem, bool packed, void* stream);

// Parts of the sums over rows: as many as the GPU of `processors` works on at once.
int64_t norm_parts(int64_t rows, int64_t width, int processors);

// `problem.parts` as norm_parts() gives them. The same bits each time on GPUs of as many
// processors.
int launch_norm_gradient(const NormGradientProblem<float>& problem, bool packed, void* stream);
int launch_norm_gradient(const NormGradientProblem<parallel::rows::Bf16>& problem, bool packed,
                         void* stream);

}  // namespace dagpam::trainer::kernels

// parallel/loss_kernel.h: launches loss_part.h on a GPU. For device_loss_cuda.cpp.
#pragma once

#include "parallel/loss_part.h"

namespace dagpam::parallel {

enum class LossPass { kLargest, kSums, kGradient };

// z [R, V] and the problem's pointers are of the GPU's memory; `stream` is a cudaStream_t. Returns
// the launch's cudaError_t.
int launch_loss(LossPass pass, const LossProblem& problem, float* z, void* stream);
int launch_loss(LossPass pass, const LossProblem& problem, rows::Bf16* z, void* stream);

}  // namespace dagpam::parallel

// parallel/loss_kernel.h: launches loss_part.h on a GPU. For device_loss_cuda.cpp.
#pragma once

#include "parallel/loss_part.h"

namespace dagpam::parallel {

// The sums pass gives `largest` and `sums`, the gradient pass overwrites the logits.
enum class LossPass { kSums, kGradient };

// z [R, V] and the problem's pointers are of the GPU's memory; `stream` is a cudaStream_t. Returns
// the launch's cudaError_t.
int launch_loss(LossPass pass, const LossProblem& problem, float* z, void* stream);
int launch_loss(LossPass pass, const LossProblem& problem, rows::Bf16* z, void* stream);

// loss_rebase_row of every row; all [R].
int launch_loss_rebase(const LossProblem& problem, const float* all, void* stream);

}  // namespace dagpam::parallel

// parallel/device_loss.h: the passes of fused_vocabulary_cross_entropy on a GPU (loss_part.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/loss_part.h"

namespace dagpam::parallel {

// Pointers of `problem` are of the logits' device; logits [R, V] float32 or bfloat16, contiguous.
// On the current stream, no host wait. Throw c10::Error, always in a build without CUDA.
void device_loss_sums(const LossProblem& problem, const at::Tensor& logits);      // and the largest
void device_loss_gradient(const LossProblem& problem, const at::Tensor& logits);  // in their place
// Sums and largest of this rank become those to `all` [R], float32: the largest of all ranks.
void device_loss_rebase(const LossProblem& problem, const at::Tensor& all);

}  // namespace dagpam::parallel

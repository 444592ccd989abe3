// parallel/flat_norm.h: the norm of many numbers, to float32's accuracy.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace dagpam::parallel {

// L2 norm of a contiguous float32 tensor [N]: a float32 scalar on its device; 0 for N = 0. On the
// CPU at::linalg_vector_norm adds all squares into a few float32 sums: of 6.5 million numbers (a
// bucket of 25 MiB) it gets 2e-4 of the norm wrong. Here rows of 1,024 come first, then their
// norms, for the same reading of memory.
at::Tensor flat_norm(const at::Tensor& flat);

// That of each, in their order. On a GPU by few launches for all, with sums in a fixed order.
std::vector<at::Tensor> flat_norms(const std::vector<at::Tensor>& flat);

}  // namespace dagpam::parallel

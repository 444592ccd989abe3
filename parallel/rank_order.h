// parallel/rank_order.h: element-wise sums, maxima and minima of several ranks' numbers, in the
// order of the ranks: ((x0 + x1) + x2) + ..., with the same bits whoever forms them and however the
// numbers are divided up.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// out[i] <- op over r of in[r][i], for i in [0, elements). Two or more ranks; `out` may be one of
// `in`, else nothing overlaps. What is written to `out` is written to `copies` too, which
// may be of `in`. Whole numbers wrap around; a maximum or minimum with a NaN is NaN. Types as
// check_reduced (comm_checks.h) has them.
void reduce_in_rank_order(at::ScalarType type, ReduceOp op, char* out,
                          const std::vector<char*>& copies, const std::vector<const char*>& in,
                          int64_t elements);

}  // namespace dagpam::parallel

// Gradient buckets in a group of any size, for ranks as threads and as processes: every rank of
// `group` runs them. Gradients are whole numbers, so sums are exact in any order.
#pragma once

#include <cstdint>

#include "parallel/communicator.h"

namespace dagpam::parallel::cases {

// Several steps of several micro-batches, against the closed form.
void gradients_are_sums(Communicator& group, int64_t bucket_bytes);

// Against one rank that sees all ranks' batches.
void gradients_are_those_of_one_rank(Communicator& group, int64_t bucket_bytes);

// Each rank leaves out another parameter, and all of them leave out one.
void parameters_may_be_unused(Communicator& group, int64_t bucket_bytes);

inline void all_gradient_cases(Communicator& group) {
  for (const int64_t bucket_bytes : {int64_t{1}, int64_t{64}, int64_t{1} << 25}) {
    gradients_are_sums(group, bucket_bytes);
    gradients_are_those_of_one_rank(group, bucket_bytes);
    parameters_may_be_unused(group, bucket_bytes);
  }
}

}  // namespace dagpam::parallel::cases

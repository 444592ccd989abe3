// trainer/layout_check.h: the proof that a parallel layout does not change the maths.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::trainer {

struct LayoutCheckOptions {
  std::vector<std::string> layouts;  // see layout.h; empty: the config's own on all ranks
  int64_t steps = 10;
  std::string inject;  // a fault of layout_fault.h to make on purpose; "": none
};

// Largest difference seen in one kind of number, as a multiple of what is allowed.
struct Difference {
  double ratio = 0;       // difference / allowed
  double difference = 0;  // absolute
  int64_t step = 0;       // counted from 1
  std::string parameter;  // with the rank and its part of it; "" for the loss
};

struct LayoutResult {
  std::string layout;
  Difference loss, gradient, parameter;
  std::string first;                // what left its bound first, in words; "" if nothing did
  std::vector<std::string> silent;  // parameters whose gradient is zero by symmetry
  bool agrees() const { return first.empty(); }
};

// Trains `steps` steps of the config on one rank and, in step, under each layout on the first ranks
// of `world`; compares the loss, every gradient and every parameter after each step, every rank its
// own part. What is allowed:
//   loss       relative 1e-6 at step 1, growing evenly to 5e-6 at step 50
//   gradient   1e-5 of max(largest entry of the tensor, 1e-3 rms of all gradients) at equal
//              weights (a tensor of one entry, as lambdas of scope MODEL, is a sum that may pass
//              through 0: the largest that it has been counts): at step 1, and at steps 2, 4, 8,
//              ... and the last, where the single rank is lent the layout's weights for once; in
//              between, where rounding has moved the weights apart, 1e-2. Its norm alike
//   parameter  equal bits at the start; then, entry by entry, what the differences of the gradients
//              seen so far can make of it (update_bound.h)
// With train.precision BF16, where each copy's gradients and each sum over ranks are rounded to 8
// bits: loss 1e-3 to 1e-2 (seen: 5e-5), gradient 1e-1 at equal weights (seen: 4.9e-2, of a norm's
// weight) and 2e-1 in between, parameter one place of bfloat16 (2^-7) more. That finds sums that
// are left out, not factors of 1.001: check a config under FP32 first. Parameters whose gradient is
// zero by symmetry (below 1e-6 rms of all gradients in every entry) are listed and left out of the
// parameter comparison. All ranks call; every rank gets the results. Throws ConfigError for layouts
// that cannot be, and for a fault that cannot strike one of them.
std::vector<LayoutResult> check_layouts(const configs::RunConfig& config,
                                        const LayoutCheckOptions& options,
                                        parallel::Communicator& world);

}  // namespace dagpam::trainer

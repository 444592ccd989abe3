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
//   gradient   1e-5 of max(largest entry of the tensor, 1e-3 rms of all gradients) at step 1, where
//              the weights are equal; later, where rounding has moved them apart, 1e-2
//              (docs/parallelism.md says what was measured)
//   parameter  equal bits at the start; then, as root mean squares of this rank's part, 1e-3 of its
//              furthest movement from the start at step 1, growing evenly to 1e-2 at step 50 (Adam
//              turns rounding in tiny gradients into whole steps of single entries), and 4 units in
//              the last place (of a lambda near 1 that hardly moved)
// Parameters whose gradient is zero by symmetry (below 1e-6 rms of all gradients in every entry)
// are listed and left out of the parameter comparison. All ranks call; every rank gets the results.
// Throws ConfigError for layouts that cannot be, and for a fault that cannot strike one of them.
std::vector<LayoutResult> check_layouts(const configs::RunConfig& config,
                                        const LayoutCheckOptions& options,
                                        parallel::Communicator& world);

}  // namespace dagpam::trainer

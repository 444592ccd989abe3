// trainer/layout_check.h: the proof that a parallel layout does not change the maths.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::trainer {

struct LayoutCheckOptions {
  std::vector<std::string> layouts;  // "dp2", "dp4"; empty: dp of all ranks
  int64_t steps = 10;
};

// Largest difference seen in one kind of number, as a multiple of what is allowed.
struct Difference {
  double ratio = 0;       // difference / allowed
  double difference = 0;  // absolute
  int64_t step = 0;       // counted from 1
  std::string parameter;  // "" for the loss
};

struct LayoutResult {
  std::string layout;
  Difference loss, gradient, parameter;
  std::string first;  // what left its bound first, in words; "" if nothing did
  bool agrees() const { return first.empty(); }
};

// Trains `steps` steps of the config with one rank and, in step, with each layout on the first
// ranks of `world`; compares the loss, every gradient and every parameter after each step. What is
// allowed:
//   loss       relative 1e-6 at step 1, growing evenly to 5e-6 at step 50
//   gradient   1e-5 of max(largest entry of the tensor, 1e-3 rms of all gradients)
//   parameter  1e-3 of the largest change of the tensor since the start (Adam turns rounding in
//   tiny
//              gradients into whole steps, so this bound is on the movement)
// Parameters whose gradient is zero by symmetry (below 1e-6 rms of all gradients in every entry)
// are left out of the parameter comparison. All ranks call; every rank gets the results.
std::vector<LayoutResult> check_layouts(const configs::RunConfig& config,
                                        const LayoutCheckOptions& options,
                                        parallel::Communicator& world);

}  // namespace dagpam::trainer

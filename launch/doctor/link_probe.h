// launch/doctor/link_probe.h: what ranks find when they talk to each other. Collectives: all ranks
// of the group call. Throws CommError as the group does.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/finding.h"

namespace dagpam::parallel {
class Communicator;
}  // namespace dagpam::parallel

namespace dagpam::launch {

struct ReduceReport {
  double bytes = 0;     // of the tensor, float32
  double seconds = 0;   // a call, of the slowest rank
  double bus_gb_s = 0;  // nccl-tests' bus bandwidth: 2 (n - 1) / n of bytes / seconds
  bool right = true;    // every element, on every rank
};

// All-reduces of `bytes` for about `seconds`. With one rank nothing is done: seconds is 0.
ReduceReport probe_all_reduce(parallel::Communicator& world, double bytes, double seconds);

// By how many seconds each rank's clock is ahead of rank 0's, within half the fastest round trip of
// a few; on rank 0, elsewhere empty. Over CPU tensors.
std::vector<double> probe_clocks(parallel::Communicator& world);

// Clocks that are further from rank 0's than this many seconds.
inline constexpr double kClockSkew = 2;
Findings judge_clocks(const std::vector<double>& ahead, const std::vector<std::string>& hosts);

}  // namespace dagpam::launch

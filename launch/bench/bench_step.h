// launch/bench/bench_step.h: the time of a training step of a config, beside a peer's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::launch {

struct StepBenchOptions {
  configs::RunConfig config;
  int64_t steps = 10;  // a round
  int64_t rounds = 7;
  std::string peer;  // launch/bench/peer.h, or ""
  std::vector<std::string>
      against;  // overrides of a second config that takes turns; in place of peer
  std::string
      log_folder;  // "": else steps with all of their logging, into it, take turns with bare ones
  bool json = false;
};

// Rounds of ours and of the peer take turns. Rank 0 prints; also the floating-point operations a
// second, and those of a large matrix product in turn with the rounds. All ranks of `world` call.
void bench_step(const StepBenchOptions& options, parallel::Communicator& world);

}  // namespace dagpam::launch

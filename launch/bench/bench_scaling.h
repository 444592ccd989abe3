// launch/bench/bench_scaling.h: what several ranks on the CPUs of one node make of a step, beside
// as many ranks that do not talk.
#pragma once

#include <cstdint>

#include "configs/run.pb.h"
#include "parallel/communicator.h"

namespace dagpam::launch {

struct ScalingBenchOptions {
  configs::RunConfig config;
  int64_t steps = 10;  // a round
  int64_t rounds = 7;
  bool json = false;
};

// Four take turns in each round: all ranks of `world` with the config's layout; the same over
// `plain`, another group of all ranks, whose collectives are MPI's (nullptr: left out); rank 0
// alone with the whole model and one copy's share of the batch, the others waiting; and every rank
// alone with that, at once: what cores that share memory and clock give without a word between
// them.
//
// Efficiency is tokens a second of the job over P times those of a rank alone. Rank 0 prints; all
// ranks call. Throws ConfigError for one rank, or ranks on GPUs.
void bench_scaling(const ScalingBenchOptions& options, parallel::Communicator& world,
                   parallel::Communicator* plain);

}  // namespace dagpam::launch

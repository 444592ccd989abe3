// launch/bench/measure_cluster.h: the rates of the machine at hand, as a cluster file.
#pragma once

#include <cstdint>
#include <string>

#include "parallel/communicator.h"

namespace dagpam::launch {

struct MeasureOptions {
  std::string out;  // the file to write
  int64_t rounds = 5;
  std::string folder = ".";  // on the disk that checkpoints go to
};

// Times products, loops, attention, an operator, memory and disk on every rank at once, and with
// several ranks collectives between them; the slowest rank's rates count. Ranks must be of one node
// and on CPUs (throws ConfigError). Rank 0 writes the file and says what it found. All ranks call.
void measure_cluster(const MeasureOptions& options, parallel::Communicator& world);

}  // namespace dagpam::launch

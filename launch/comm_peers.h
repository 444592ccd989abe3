// launch/comm_peers.h: the ranks of a job as the peers that prepare a data set.
#pragma once

#include <functional>

#include "data/peers.h"
#include "launch/program.h"

namespace dagpam::launch {

// Runs `work` in `threads` threads of each rank (0: as many as the rank has cores, but no more than
// 4 MiB of `bytes` are worth each). Opens MPI only where a launcher started several processes;
// then Interrupted leaves it on rank 0 alone, the others only end with its code.
void run_with_peers(Program& program, int threads, int64_t bytes,
                    const std::function<void(data::Peers&)>& work);

}  // namespace dagpam::launch

// data/thread_peers.h: threads of this process as peers, alone or on every rank of a job.
#pragma once

#include <functional>

#include "data/peers.h"

namespace dagpam::data {

// Runs `work` in `threads` >= 1 threads, one of them the caller's, each with peers of its own: rank
// outer.rank() * threads + t of outer.size() * threads. `threads` is the same on every rank. Only
// the caller's thread calls `outer`. Where work throws, it does so in every thread (as together()
// does); the caller's error is rethrown.
void run_in_threads(Peers& outer, int threads, const std::function<void(Peers&)>& work);

}  // namespace dagpam::data

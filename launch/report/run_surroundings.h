// launch/report/run_surroundings.h: how a run has gone besides its metrics. Torch-free.
#pragma once

#include "launch/report/run_history.h"

namespace dagpam::launch {

// Fills in what LOCK, the config and the log of rank 0 say. What is not there or reads otherwise
// stays empty: nothing is refused.
void read_surroundings(RunHistory& run);

}  // namespace dagpam::launch

// launch/bench/process_time.h: how long this process has lived.
#pragma once

namespace dagpam::launch {

// Seconds since the system started this process, libraries loaded and all; a hundredth is the
// clock's step. 0 where /proc does not tell.
double seconds_since_start();

}  // namespace dagpam::launch

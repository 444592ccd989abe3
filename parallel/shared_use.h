// parallel/shared_use.h: whether collectives of ranks of one node go through shared memory.
#pragma once

namespace dagpam::parallel {

enum class SharedMemoryUse {
  kAuto,  // where it can be had: of two ranks it was faster than MPI at every size measured
          // (docs/performance.md); else MPI
  kOn,    // a group on one node that cannot have it is refused
  kOff,   // MPI
};

}  // namespace dagpam::parallel

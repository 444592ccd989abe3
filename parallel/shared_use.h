// parallel/shared_use.h: which collectives of ranks of one node go through shared memory.
#pragma once

#include <cstdint>

#include "parallel/shared_transfer.h"

namespace dagpam::parallel {

enum class SharedMemoryUse {
  kAuto,  // calls that were measured to be faster there, where it can be had; else MPI
  kOn,    // all collectives; a group on one node that cannot have it is refused
  kOff,   // none: MPI
};

// Of a call of `bytes`, counted as CommCounts does.
bool goes_through_shared_memory(SharedMemoryUse use, SharedCall::Kind kind, int64_t bytes);

}  // namespace dagpam::parallel

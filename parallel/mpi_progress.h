// parallel/mpi_progress.h: a thread that keeps calls moving while the rank computes: Open MPI's,
// and those through shared memory, move only inside calls. For the mpi_*.cpp files and session.cpp.
//
// One thread a process, started by the first call that asks for it. It sleeps on a condition while
// nothing is under way, and between two looks with pauses that grow from 20 to 200 microseconds. It
// takes time of whichever core is free; mpi_cores.h says whether one is.
#pragma once

#include <memory>

#include "parallel/beside.h"

namespace dagpam::parallel {

// Hands `work` to the thread until it is complete, fails, or its owner waits for it. False where
// MPI allows only one thread to call it, or once stop_mpi_progress() was called: nothing is done.
bool move_beside(std::shared_ptr<MovedBeside> work);

// Ends the thread, if there is one, and starts none again. Before MPI_Finalize; from the main
// thread. What was under way is left to its owners.
void stop_mpi_progress();

}  // namespace dagpam::parallel

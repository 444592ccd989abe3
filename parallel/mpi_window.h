// parallel/mpi_window.h: shared memory for the ranks of an MPI communicator. For the mpi_*.cpp
// files.
//
// Not MPI_Win_allocate_shared: where Open MPI 4.1 finds no room in /dev/shm it returns an error on
// the first rank and leaves the others waiting for ever, and MPI_Win_free waits for all ranks, also
// for those that left by an exception. Here one rank makes the memory, the others map it, and all
// agree in calls that can be overdue.
#pragma once

#include <cstddef>
#include <memory>

#include "parallel/comm_checks.h"
#include "parallel/mpi_communicator.h"
#include "parallel/shared_group.h"

namespace dagpam::parallel {

// A collective over `comm`, an MPI_Comm* (mpi.h stays out of headers). nullptr on every rank where
// options do not ask for it, where the ranks are on several nodes, or where one cannot have the
// memory: then, once a process, the group's rank 0 prints why; with SharedMemoryUse::kOn CommError
// says it. `call` names rank, size and group.
std::shared_ptr<SharedGroup> make_mpi_window(void* comm, CommCall call, const MpiOptions& options);

// A collective too: memory of so many bytes that all ranks have mapped, or nullptr on all, as
// above.
std::unique_ptr<SharedMemory> make_mpi_memory(void* comm, CommCall call, const MpiOptions& options,
                                              size_t bytes);

}  // namespace dagpam::parallel

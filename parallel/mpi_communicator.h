// parallel/mpi_communicator.h: the communicator of ranks that are MPI processes. For session.cpp
// and the tests; the program asks Session::world().
//
// Every call is a non-blocking MPI operation that is asked about until it is complete or overdue,
// so none waits for ever on a peer that is gone. MPI must be open, and stay open longer than the
// communicators.
//
// Where all ranks of a group are on one node, collectives go through memory that they have mapped
// (shared_group.h) instead, where that can be had (SharedMemoryUse). Then sums are formed in rank
// order. send, recv, barrier and split are MPI's.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/shared_use.h"

namespace dagpam::parallel {

// Bytes that a rank writes before it reads: half of a core's second cache holds two such pieces.
constexpr int64_t kSharedPieceBytes = int64_t{256} << 10;

struct MpiOptions {
  std::chrono::milliseconds timeout = std::chrono::seconds(600);
  // MPI counts are int: longer tensors are carried in pieces of at most this many elements.
  int64_t max_count = int64_t{1} << 30;
  SharedMemoryUse shared_memory = SharedMemoryUse::kAuto;
  int64_t piece_bytes = kSharedPieceBytes;  // through shared memory at once, a rank; whole lines
};

// A collective over all processes: the group of all ranks, with messages apart from other such
// groups.
std::unique_ptr<Communicator> make_mpi_world(const MpiOptions& options);

// Ends the job on every rank with this code, from any thread.
[[noreturn]] void abort_mpi_job(int exit_code);

// True once a call of this process has failed or was overdue. From then on MPI cannot be closed in
// good order: that needs all ranks.
bool mpi_has_failed();

}  // namespace dagpam::parallel

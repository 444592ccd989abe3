// Stands in front of MPI (its profiling interface, by LD_PRELOAD): from DAGPAM_BAD_NUMBER_AFTER
// seconds after the start, rank 1 adds an infinity to the next large float sum, as a gradient that
// overflows would.
#include <mpi.h>

#include <chrono>
#include <cstdlib>
#include <limits>

namespace {

using Clock = std::chrono::steady_clock;
const Clock::time_point start = Clock::now();

bool is_due() {
  const char* seconds = std::getenv("DAGPAM_BAD_NUMBER_AFTER");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return seconds != nullptr && rank != nullptr && std::atoi(rank) == 1 &&
         Clock::now() - start > std::chrono::duration<double>(std::atof(seconds));
}

}  // namespace

// NOLINTNEXTLINE: the name is MPI's
extern "C" int MPI_Iallreduce(const void* send, void* receive, int count, MPI_Datatype type,
                              MPI_Op op, MPI_Comm comm, MPI_Request* request) {
  if (send == MPI_IN_PLACE && type == MPI_FLOAT && count > 100 && is_due()) {
    static_cast<float*>(receive)[count / 2] = std::numeric_limits<float>::infinity();
  }
  return PMPI_Iallreduce(send, receive, count, type, op, comm, request);
}

// Stands in front of MPI (its profiling interface, by LD_PRELOAD) and scales what a rank adds to
// large float sums by 1.001: a wrong gradient, as a faulty layout would give.
#include <mpi.h>

// NOLINTNEXTLINE: the name is MPI's
extern "C" int MPI_Iallreduce(const void* send, void* receive, int count, MPI_Datatype type,
                              MPI_Op op, MPI_Comm comm, MPI_Request* request) {
  if (send == MPI_IN_PLACE && type == MPI_FLOAT && count > 100) {
    auto* values = static_cast<float*>(receive);
    for (int i = 0; i < count; ++i) values[i] *= 1.001f;
  }
  return PMPI_Iallreduce(send, receive, count, type, op, comm, request);
}

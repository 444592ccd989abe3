// parallel/mpi_plain.h: MPI as a program without this project's communicators would call it. For
// benchmarks.
#pragma once

#include <ATen/core/Tensor.h>

namespace dagpam::parallel {

// MPI_Allreduce of float32, in place, over all processes of the job: waits for ever. Throws
// CommError.
void plain_mpi_all_reduce(at::Tensor& t);

}  // namespace dagpam::parallel

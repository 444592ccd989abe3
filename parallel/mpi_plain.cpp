#include "parallel/mpi_plain.h"

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <mpi.h>

#include "parallel/comm_checks.h"
#include "parallel/mpi_errors.h"

namespace dagpam::parallel {

void plain_mpi_all_reduce(at::Tensor& t) {
  check_reduced("MPI_Allreduce", t);
  TORCH_CHECK(t.scalar_type() == at::kFloat && t.numel() <= INT32_MAX, "MPI_Allreduce of ",
              describe(t));
  const CommCall call{0, 1, "mpi world", "MPI_Allreduce " + describe(t), 0};
  DAGPAM_MPI(call, MPI_Allreduce(MPI_IN_PLACE, t.data_ptr<float>(), static_cast<int>(t.numel()),
                                 MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD));
}

}  // namespace dagpam::parallel

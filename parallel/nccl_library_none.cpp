// nccl_api.h in a build without CUDA.
#include "parallel/comm_error.h"
#include "parallel/nccl_api.h"

namespace dagpam::parallel {

std::shared_ptr<NcclApi> make_nccl_library(int) {
  throw CommError(
      "NCCL is not in this program: it was built without CUDA; build it with the preset cuda, or "
      "choose parallel.backend MPI");
}

int nccl_library_version() { return 0; }

}  // namespace dagpam::parallel

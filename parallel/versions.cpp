#include "parallel/versions.h"

#include <mpi.h>
#include <torch/version.h>

#include "parallel/devices.h"
#include "parallel/nccl_api.h"

namespace dagpam::parallel {
namespace {

// "Open MPI v4.1.4, package: ..., ident: ..." and others: up to the first comma or line's end.
std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string whole(text);
  return whole.substr(0, whole.find_first_of(",\n"));
}

std::string nccl_version() {
  const int version = nccl_library_version();
  if (version == 0) return "none";
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

// CUDA counts 1000 a major release and 10 a minor one.
std::string cuda_version(int version) {
  if (version == 0) return "none";
  return std::to_string(version / 1000) + "." + std::to_string(version / 10 % 100);
}

}  // namespace

LibraryVersions library_versions() {
  const CudaVersions cuda = cuda_versions();
  const std::string torch = std::to_string(TORCH_VERSION_MAJOR) + "." +
                            std::to_string(TORCH_VERSION_MINOR) + "." +
                            std::to_string(TORCH_VERSION_PATCH);
  return {torch, mpi_version(), nccl_version(), cuda_version(cuda.runtime),
          cuda_version(cuda.driver)};
}

}  // namespace dagpam::parallel

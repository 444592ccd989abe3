// parallel/versions.h: the libraries that ranks meet in: as they are loaded, but for LibTorch,
// which is the one of the build.
#pragma once

#include <string>

namespace dagpam::parallel {

struct LibraryVersions {
  std::string torch;   // "2.11.0"
  std::string mpi;     // "Open MPI v4.1.4"; may be asked for before MPI is open
  std::string nccl;    // "2.28.9"; "none" in a build without CUDA
  std::string cuda;    // of the runtime, "13.0"; "none" in a build without CUDA
  std::string driver;  // the newest CUDA that it serves, "13.0"; "none" without a driver
};
LibraryVersions library_versions();

}  // namespace dagpam::parallel

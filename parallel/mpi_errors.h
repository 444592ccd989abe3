// parallel/mpi_errors.h: failed MPI calls as CommError. For the mpi_*.cpp files.
#pragma once

#include <string>

#include "parallel/comm_checks.h"

// Calls the library and throws CommError with the call, the expression and the library's text.
#define DAGPAM_MPI(call, expression) \
  ::dagpam::parallel::check_mpi((expression), #expression, (call))

namespace dagpam::parallel {

// `code` as MPI functions return it.
void check_mpi(int code, const char* expression, const CommCall& call);

// Throws CommError; from then on mpi_has_failed() (mpi_communicator.h). From any thread.
[[noreturn]] void fail_mpi(const CommCall& call, const char* expression, const std::string& text);

}  // namespace dagpam::parallel

#include "parallel/mpi_errors.h"

#include <mpi.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "parallel/comm_error.h"
#include "parallel/mpi_communicator.h"

namespace dagpam::parallel {
namespace {

std::atomic<bool> has_failed{false};

}  // namespace

void fail_mpi(const CommCall& call, const char* expression, const std::string& text) {
  has_failed = true;
  throw CommError(comm_failure(call, expression, text));
}

void check_mpi(int code, const char* expression, const CommCall& call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail_mpi(call, expression, text);
}

void abort_mpi_job(int exit_code) {
  int level = MPI_THREAD_SINGLE, is_main = 0, open = 0, closed = 0;
  MPI_Initialized(&open);
  MPI_Finalized(&closed);
  if (open != 0 && closed == 0) {
    MPI_Query_thread(&level);
    MPI_Is_thread_main(&is_main);
    if (level == MPI_THREAD_MULTIPLE || is_main != 0) {
      MPI_Abort(MPI_COMM_WORLD, exit_code);
    }
  }
  std::_Exit(exit_code);  // mpirun then ends the others
}

bool mpi_has_failed() { return has_failed; }

}  // namespace dagpam::parallel

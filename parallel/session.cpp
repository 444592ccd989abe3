#include "parallel/session.h"

#include <mpi.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "parallel/comm_error.h"
#include "parallel/launcher.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_progress.h"

namespace dagpam::parallel {
namespace {

void check_open(int code, const char* expression) {
  if (code != MPI_SUCCESS) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw CommError(std::string("opening MPI: ") + expression + ": " + text);
  }
}

#define DAGPAM_MPI_OPEN(expression) check_open((expression), #expression)

}  // namespace

struct Session::State {
  int rank = 0, size = 1, local_rank = 0, local_size = 1;
  std::string host;
};

Session::Session() : state_(std::make_unique<State>()) {
  // Without mpirun, Open MPI would start its daemon, which a bare machine may lack, for a job of
  // one.
  setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  // In place, its non-blocking all-reduce is a binomial tree unless told otherwise: each of P ranks
  // moves the whole tensor log P times. Rabenseifner's reduce-scatter and all-gather moves it about
  // twice.
  setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3", 0);
  const std::string unconnected = unconnected_launch(std::getenv);
  if (!unconnected.empty()) throw LaunchMismatch(unconnected);
  int level = MPI_THREAD_SINGLE;
  DAGPAM_MPI_OPEN(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level));
  DAGPAM_MPI_OPEN(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  DAGPAM_MPI_OPEN(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
  if (level < MPI_THREAD_FUNNELED) {
    throw CommError("opening MPI: this library allows no threads beside the one that calls it");
  }
  DAGPAM_MPI_OPEN(MPI_Comm_rank(MPI_COMM_WORLD, &state_->rank));
  DAGPAM_MPI_OPEN(MPI_Comm_size(MPI_COMM_WORLD, &state_->size));

  const std::string mismatch = launch_mismatch(launcher_claim(std::getenv), state_->size);
  if (!mismatch.empty()) throw LaunchMismatch(mismatch);

  MPI_Comm node = MPI_COMM_NULL;
  DAGPAM_MPI_OPEN(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, state_->rank,
                                      MPI_INFO_NULL, &node));
  DAGPAM_MPI_OPEN(MPI_Comm_rank(node, &state_->local_rank));
  DAGPAM_MPI_OPEN(MPI_Comm_size(node, &state_->local_size));
  DAGPAM_MPI_OPEN(MPI_Comm_free(&node));

  char host[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  DAGPAM_MPI_OPEN(MPI_Get_processor_name(host, &length));
  state_->host = host;
}

Session::~Session() {
  stop_mpi_progress();
  if (std::uncaught_exceptions() == 0 && !mpi_has_failed()) {
    MPI_Finalize();
  }
}

int Session::rank() const { return state_->rank; }
int Session::size() const { return state_->size; }
int Session::local_rank() const { return state_->local_rank; }
int Session::local_size() const { return state_->local_size; }
std::string Session::host() const { return state_->host; }

std::unique_ptr<Communicator> Session::world(std::chrono::seconds timeout,
                                             SharedMemoryUse shared_memory) {
  if (state_->size == 1) {
    return make_self_communicator();
  }
  return make_mpi_world({.timeout = timeout, .shared_memory = shared_memory});
}

void Session::abort(int exit_code) { abort_mpi_job(exit_code); }

}  // namespace dagpam::parallel

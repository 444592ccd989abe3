// parallel/session.h: this process as a rank of the job that mpirun or srun started.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "parallel/communicator.h"
#include "parallel/shared_use.h"

namespace dagpam::parallel {

// The launcher started several processes that do not know of each other (see launcher.h): each
// would train the same model alone. One line: what was seen, and what to start with instead.
class LaunchMismatch : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Opens MPI on construction and closes it on destruction (once per process). Without mpirun: one
// rank. Sets MPI_ERRORS_RETURN, so that a failed call throws CommError. Throws LaunchMismatch,
// where it can before MPI is opened.
//
// Closing MPI needs all ranks, so the destructor leaves it open where a call has failed or an
// exception is on its way: the process then ends with its error, and mpirun ends the others. main()
// catches while the session lives and calls abort(). Communicators end before the session.
class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int rank() const;
  int size() const;
  int local_rank() const;  // among the ranks of this node
  int local_size() const;
  std::string host() const;

  // The group of all ranks, a new one each time. Itself a collective. A call that takes longer than
  // `timeout` throws. Through the memory of a node as shared_use.h says.
  std::unique_ptr<Communicator> world(std::chrono::seconds timeout = std::chrono::seconds(600),
                                      SharedMemoryUse shared_memory = SharedMemoryUse::kAuto);

  // Ends the job on every rank with this exit code; does not return. Callable from any thread.
  // Output that is not yet written is lost.
  [[noreturn]] void abort(int exit_code);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dagpam::parallel

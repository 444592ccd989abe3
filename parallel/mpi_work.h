// parallel/mpi_work.h: a call of a communicator over MPI, under way. For the mpi_*.cpp files.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel/beside.h"
#include "parallel/comm_checks.h"
#include "parallel/communicator.h"

namespace dagpam::parallel {

// The MPI operations of one call and the tensors they read and write. One thread adds requests and
// waits; after keep_moving() the progress thread (mpi_progress.h) tests beside it.
class MpiWork : public Work, public MovedBeside, public std::enable_shared_from_this<MpiWork> {
 public:
  MpiWork(CommCall call, std::chrono::milliseconds timeout, std::vector<at::Tensor> tensors);
  // MPI goes on with an operation that nobody waits for: its memory must outlive the process's last
  // call.
  ~MpiWork() override;

  // Where MPI puts the next request: an MPI_Request*, good until the next call. mpi.h stays out of
  // headers.
  void* add();

  void wait() override;
  void make_progress() override;
  void keep_moving() override;

  bool test_beside() noexcept override;

  const CommCall& call() const { return call_; }
  int64_t received_bytes() const;  // once complete, over all requests

 private:
  struct Requests;

  bool test();  // holding mutex_

  CommCall call_;
  std::chrono::milliseconds timeout_;
  std::vector<at::Tensor> tensors_;
  std::unique_ptr<Requests> requests_;  // empty: complete
  std::mutex mutex_;                    // of requests_ and failure_, once another thread tests
  bool beside_ = false;                 // another thread may test
  bool waited_for_ = false;
  std::exception_ptr failure_;  // of the other thread's test
};

}  // namespace dagpam::parallel

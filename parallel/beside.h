// parallel/beside.h: a call under way that a thread of its own may move (mpi_progress.h).
#pragma once

namespace dagpam::parallel {

class MovedBeside {
 public:
  virtual ~MovedBeside() = default;
  // True once there is nothing left to do here, because the call is complete, or has failed (wait()
  // then throws that), or wait() moves it itself.
  virtual bool test_beside() noexcept = 0;
};

}  // namespace dagpam::parallel

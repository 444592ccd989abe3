#include "parallel/mpi_work.h"

#include <mpi.h>

#include <algorithm>
#include <utility>

#include "parallel/mpi_errors.h"
#include "parallel/mpi_progress.h"
#include "parallel/poll.h"
#include "parallel/shared_group.h"

namespace dagpam::parallel {

struct MpiWork::Requests {
  std::vector<MPI_Request> open;  // empty: complete
  std::vector<MPI_Status> statuses;
};

MpiWork::MpiWork(CommCall call, std::chrono::milliseconds timeout, std::vector<at::Tensor> tensors)
    : call_(std::move(call)),
      timeout_(timeout),
      tensors_(std::move(tensors)),
      requests_(std::make_unique<Requests>()) {}

MpiWork::~MpiWork() {
  if (!requests_->open.empty()) {
    static auto& abandoned = *new std::vector<at::Tensor>;
    static std::mutex several;
    const std::lock_guard lock(several);
    abandoned.insert(abandoned.end(), tensors_.begin(), tensors_.end());
  }
}

void* MpiWork::add() { return &requests_->open.emplace_back(MPI_REQUEST_NULL); }

bool MpiWork::test() {
  auto& [open, statuses] = *requests_;
  if (open.empty()) return true;
  int done = 0;
  statuses.resize(open.size());
  int code = MPI_Testall(static_cast<int>(open.size()), open.data(), &done, statuses.data());
  if (code == MPI_ERR_IN_STATUS) {
    const auto bad = std::find_if(statuses.begin(), statuses.end(), [](const MPI_Status& s) {
      return s.MPI_ERROR != MPI_SUCCESS && s.MPI_ERROR != MPI_ERR_PENDING;
    });
    code = bad != statuses.end() ? bad->MPI_ERROR : code;
  }
  check_mpi(code, "MPI_Testall(requests)", call_);
  if (done != 0) open.clear();
  return done != 0;
}

void MpiWork::wait() {
  Poll poll(timeout_);
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      waited_for_ = true;  // from here on this thread alone tests
      if (failure_) std::rethrow_exception(failure_);
      if (test()) return;
    }
    process_engine().drive();  // a peer may need those of its calls before it comes to this one
    if (!poll.pause()) fail_mpi(call_, "MPI_Testall(requests)", overdue(timeout_));
  }
}

void MpiWork::make_progress() {
  if (!beside_) test();
}

void MpiWork::keep_moving() { beside_ = move_beside(shared_from_this()); }

bool MpiWork::test_beside() noexcept {
  const std::lock_guard lock(mutex_);
  if (waited_for_ || failure_) return true;
  try {
    return test();
  } catch (...) {
    failure_ = std::current_exception();
    return true;
  }
}

int64_t MpiWork::received_bytes() const {
  int64_t bytes = 0;
  for (const MPI_Status& status : requests_->statuses) {
    MPI_Count count = 0;  // past the reach of MPI_Get_count's int
    DAGPAM_MPI(call_, MPI_Get_elements_x(&status, MPI_BYTE, &count));
    bytes += count;
  }
  return bytes;
}

}  // namespace dagpam::parallel

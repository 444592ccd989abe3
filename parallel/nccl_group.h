// parallel/nccl_group.h: one NCCL communicator with its stream: what is under way on it, what has
// become of it. The Communicator over it is nccl_communicator.h.
//
// The life of a call: an event on the caller's current stream, for which the group's own stream
// waits; the call; its state, asked until it is no longer in progress; an event on the group's
// stream. wait() makes the caller's then current stream wait for that event: the host never does.
// The tensors are held until wait(), from where their memory is taken back in stream order, or, of
// calls that nobody waits for, until the event has passed.
//
// A failure (a result that is an error, a deadline, an error that shows later) aborts every
// communicator of the job on this rank, once, so that no kernel is left waiting for its peer, and
// throws; later calls throw the same words. What shows later is found by the job's watch, a thread
// of its own. One thread at a time calls; the watch is apart.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/comm_checks.h"
#include "parallel/communicator.h"
#include "parallel/nccl_api.h"
#include "parallel/nccl_job.h"

namespace dagpam::parallel {

class NcclGroup : public std::enable_shared_from_this<NcclGroup> {
 public:
  // A new communicator of `size` ranks; returns when it is ready. All ranks call with the id of one
  // of them. Throws CommError.
  static std::shared_ptr<NcclGroup> make(std::shared_ptr<NcclJob> job, const std::string& name,
                                         int size, const NcclId& id, int rank);

  // The ranks of one colour, ordered by key. All ranks call.
  // `rank` and `size` are this rank's in the new group.
  std::shared_ptr<NcclGroup> split(int colour, int key, const std::string& child, int size,
                                   int rank);

  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  using Call = std::function<NcclResult(NcclApi&, NcclHandle, StreamHandle)>;
  // Starts `call`, which reads and writes `tensors` alone. `collective` and `expression` are for
  // errors.
  WorkPtr start(std::string collective, const char* expression, std::vector<at::Tensor> tensors,
                const Call& call);

  // The calls that `fn` starts, as one of the library. `fn` waits for none of them.
  void together(const std::function<void()>& fn);

  // The watch's part, under the job's lock: finds errors that show later and calls that are
  // overdue, and lets go of what is done. `gap`: since the last look.
  void look(std::chrono::steady_clock::duration gap);
  void abort_handle();  // once; under the job's lock

 private:
  struct Ticket;
  class GroupWork;
  NcclGroup(std::shared_ptr<NcclJob> job, std::string name, int rank, int size);

  CommCall call_of(std::string collective) const;
  // Asks until the call is done. Takes the lock.
  void settle(const CommCall& call, const char* expression, NcclResult result, NcclHandle asked);
  // Until NCCL has written it: a communicator that is split off has none until it is whole, and its
  // parent may say that all is done before the split has begun (seen with NCCL 2.30.7). Takes the
  // lock.
  void await_handle(const CommCall& call, NcclHandle parent);
  void open_stream(const CommCall& call);
  void finish(Ticket& ticket);
  void close() noexcept;

  // Under the lock.
  void require_good() const;
  void check_nccl(const CommCall& call, const char* expression, NcclResult result);
  void check_cuda(const CommCall& call, const char* expression, CudaResult result);
  [[noreturn]] void fail(const CommCall& call, const std::string& expression,
                         const std::string& text);
  EventHandle take_event(const CommCall& call);
  void follow_caller(const CommCall& call);
  void record_done(const std::shared_ptr<Ticket>& ticket);

  std::shared_ptr<NcclJob> job_;
  NcclApi& api_;
  std::string name_;
  int rank_, size_;
  int64_t sequence_ = 0;
  NcclHandle handle_ = nullptr;  // null: not made, or aborted
  StreamHandle stream_ = nullptr;
  bool has_stream_ = false;
  EventHandle before_ = nullptr;
  std::vector<EventHandle> spare_events_, all_events_;
  std::vector<std::shared_ptr<Ticket>> in_group_;    // started within together()
  std::deque<std::shared_ptr<Ticket>> outstanding_;  // in order; the front one's time runs
  std::chrono::steady_clock::duration waited_{0};    // of the front one
};

}  // namespace dagpam::parallel

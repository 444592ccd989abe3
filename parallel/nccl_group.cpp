#include "parallel/nccl_group.h"

#include <c10/util/Exception.h>

#include <exception>
#include <utility>

#include "parallel/poll.h"

namespace dagpam::parallel {

using Clock = std::chrono::steady_clock;

struct NcclGroup::Ticket {
  CommCall call;
  std::vector<at::Tensor> tensors;
  EventHandle done = nullptr;  // on the group's stream; null once it has passed
  bool recorded = false;
};

class NcclGroup::GroupWork : public Work {
 public:
  GroupWork(std::shared_ptr<NcclGroup> group, std::shared_ptr<Ticket> ticket)
      : group_(std::move(group)), ticket_(std::move(ticket)) {}

  void wait() override {
    if (ticket_ == nullptr) return;
    group_->finish(*ticket_);
    ticket_.reset();
  }

  // The GPU needs no help; but a failure that the watch found ends backward early.
  void make_progress() override {
    const auto held = group_->job_->lock();
    group_->require_good();
  }

 private:
  std::shared_ptr<NcclGroup> group_;
  std::shared_ptr<Ticket> ticket_;
};

NcclGroup::NcclGroup(std::shared_ptr<NcclJob> job, std::string name, int rank, int size)
    : job_(std::move(job)), api_(job_->api()), name_(std::move(name)), rank_(rank), size_(size) {}

std::shared_ptr<NcclGroup> NcclGroup::make(std::shared_ptr<NcclJob> job, const std::string& name,
                                           int size, const NcclId& id, int rank) {
  const std::shared_ptr<NcclGroup> group(new NcclGroup(std::move(job), name, rank, size));
  const CommCall call = group->call_of("a new group");
  NcclResult result = kNcclSuccess;
  {
    const auto held = group->job_->lock();
    group->require_good();
    group->job_->add(group.get());
    result = group->api_.init(&group->handle_, size, id, rank);
  }
  group->settle(call, "ncclCommInitRankConfig", result, group->handle_);
  group->open_stream(call);
  return group;
}

std::shared_ptr<NcclGroup> NcclGroup::split(int colour, int key, const std::string& child, int size,
                                            int rank) {
  const std::shared_ptr<NcclGroup> part(new NcclGroup(job_, child, rank, size));
  const CommCall call = call_of("split");
  ++sequence_;
  NcclResult result = kNcclSuccess;
  {
    const auto held = job_->lock();
    require_good();
    job_->add(part.get());
    result = api_.split(handle_, colour, key, &part->handle_);
  }
  settle(call, "ncclCommSplit", result, handle_);
  part->await_handle(call, handle_);
  settle(call, "ncclCommSplit", kNcclInProgress, part->handle_);
  settle(call, "ncclCommSplit", kNcclInProgress, handle_);  // it may have begun late
  part->open_stream(call);
  return part;
}

NcclGroup::~NcclGroup() { close(); }

CommCall NcclGroup::call_of(std::string collective) const {
  return {rank_, size_, name_, std::move(collective), sequence_};
}

void NcclGroup::settle(const CommCall& call, const char* expression, NcclResult result,
                       NcclHandle asked) {
  Poll poll(job_->options().timeout);
  while (result == kNcclInProgress) {
    const bool in_time = poll.pause();
    const auto held = job_->lock();
    require_good();
    NcclResult state = kNcclSuccess;
    const NcclResult asking = api_.state(asked, &state);
    result = asking == kNcclSuccess ? state : asking;
    if (result == kNcclInProgress && !in_time) {
      fail(call, expression, overdue(job_->options().timeout));
    }
  }
  const auto held = job_->lock();
  require_good();
  check_nccl(call, expression, result);
}

void NcclGroup::await_handle(const CommCall& call, NcclHandle parent) {
  Poll poll(job_->options().timeout);
  while (__atomic_load_n(&handle_, __ATOMIC_ACQUIRE) == nullptr) {
    const bool in_time = poll.pause();
    settle(call, "ncclCommSplit", kNcclInProgress, parent);  // throws where it has failed
    if (!in_time) fail(call, "ncclCommSplit", overdue(job_->options().timeout));
  }
}

void NcclGroup::open_stream(const CommCall& call) {
  const auto held = job_->lock();
  check_cuda(call, "cudaStreamCreateWithPriority", api_.make_stream(&stream_));
  has_stream_ = true;
  before_ = take_event(call);
}

WorkPtr NcclGroup::start(std::string collective, const char* expression,
                         std::vector<at::Tensor> tensors, const Call& call) {
  auto ticket = std::make_shared<Ticket>();
  ticket->call = call_of(std::move(collective));
  ticket->tensors = std::move(tensors);
  ++sequence_;
  const auto work = std::make_shared<GroupWork>(shared_from_this(), ticket);
  NcclResult result = kNcclSuccess;
  {
    const auto held = job_->lock();
    require_good();
    TORCH_CHECK(job_->gathering == nullptr || job_->gathering == this, ticket->call.collective,
                " on '", name_, "' while the calls of another group are gathered");
    follow_caller(ticket->call);
    result = call(api_, handle_, stream_);
    if (job_->gathering == this) {
      if (result != kNcclInProgress) check_nccl(ticket->call, expression, result);
      in_group_.push_back(ticket);
      return work;
    }
  }
  // Its kernel may not be on the stream before the call itself is done.
  settle(ticket->call, expression, result, handle_);
  const auto held = job_->lock();
  require_good();
  record_done(ticket);
  return work;
}

void NcclGroup::together(const std::function<void()>& fn) {
  const CommCall call = call_of("a group of calls");
  {
    const auto held = job_->lock();
    require_good();
    TORCH_CHECK(job_->gathering == nullptr, "a group of calls within another");
    check_nccl(call, "ncclGroupStart", api_.group_start());
    job_->gathering = this;
  }
  NcclResult result = kNcclSuccess;
  const auto end = [&] {
    const auto held = job_->lock();
    if (std::exchange(job_->gathering, nullptr) == this) result = api_.group_end();
  };
  try {
    fn();
  } catch (...) {
    end();
    in_group_.clear();
    throw;
  }
  end();
  settle(call, "ncclGroupEnd", result, handle_);
  const auto held = job_->lock();
  require_good();
  for (const auto& ticket : std::exchange(in_group_, {})) record_done(ticket);
}

void NcclGroup::finish(Ticket& ticket) {
  const auto held = job_->lock();
  require_good();
  TORCH_CHECK(ticket.recorded, ticket.call.collective,
              ": waited for before the group of calls that it belongs to has ended");
  if (ticket.done != nullptr) {
    StreamHandle caller = nullptr;
    check_cuda(ticket.call, "current stream", api_.current_stream(&caller));
    check_cuda(ticket.call, "cudaStreamWaitEvent", api_.make_wait(caller, ticket.done));
  }
  ticket.tensors.clear();
}

void NcclGroup::look(Clock::duration gap) {
  if (handle_ == nullptr || !has_stream_) return;  // settle() asks while it is being made
  const CommCall call = outstanding_.empty() ? call_of("idle") : outstanding_.front()->call;
  NcclResult state = kNcclSuccess;
  const NcclResult asking = api_.state(handle_, &state);
  const NcclResult result = asking == kNcclSuccess ? state : asking;
  if (result != kNcclSuccess && result != kNcclInProgress) {
    job_->set_failure(comm_failure(call, "ncclCommGetAsyncError", api_.nccl_text(result, handle_)));
    return;
  }
  waited_ += gap;
  while (!outstanding_.empty()) {
    Ticket& front = *outstanding_.front();
    bool passed = false;
    if (const CudaResult asked = api_.passed(front.done, &passed); asked != kCudaSuccess) {
      job_->set_failure(comm_failure(front.call, "cudaEventQuery", api_.cuda_text(asked)));
      return;
    }
    if (!passed) {
      if (waited_ >= job_->options().timeout) {
        job_->set_failure(
            comm_failure(front.call, "cudaEventQuery", overdue(job_->options().timeout)));
      }
      return;
    }
    spare_events_.push_back(std::exchange(front.done, nullptr));
    outstanding_.pop_front();
    waited_ = Clock::duration(0);
  }
  waited_ = Clock::duration(0);
}

void NcclGroup::abort_handle() {
  if (handle_ != nullptr) api_.abort(std::exchange(handle_, nullptr));
}

void NcclGroup::require_good() const {
  if (job_->failed()) job_->throw_failure();
}

void NcclGroup::check_nccl(const CommCall& call, const char* expression, NcclResult result) {
  if (result != kNcclSuccess) fail(call, expression, api_.nccl_text(result, handle_));
}

void NcclGroup::check_cuda(const CommCall& call, const char* expression, CudaResult result) {
  if (result != kCudaSuccess) fail(call, expression, api_.cuda_text(result));
}

void NcclGroup::fail(const CommCall& call, const std::string& expression, const std::string& text) {
  // The library's list of gathered calls is closed before anything is aborted.
  if (std::exchange(job_->gathering, nullptr) != nullptr) api_.group_end();
  job_->set_failure(comm_failure(call, expression, text));
  job_->throw_failure();
}

EventHandle NcclGroup::take_event(const CommCall& call) {
  if (spare_events_.empty()) {
    EventHandle event = nullptr;
    check_cuda(call, "cudaEventCreateWithFlags", api_.make_event(&event));
    all_events_.push_back(event);
    return event;
  }
  const EventHandle event = spare_events_.back();
  spare_events_.pop_back();
  return event;
}

// A wait takes the event as it was last recorded, so one serves for all calls.
void NcclGroup::follow_caller(const CommCall& call) {
  StreamHandle caller = nullptr;
  check_cuda(call, "current stream", api_.current_stream(&caller));
  check_cuda(call, "cudaEventRecord", api_.record(before_, caller));
  check_cuda(call, "cudaStreamWaitEvent", api_.make_wait(stream_, before_));
}

void NcclGroup::record_done(const std::shared_ptr<Ticket>& ticket) {
  ticket->done = take_event(ticket->call);
  check_cuda(ticket->call, "cudaEventRecord", api_.record(ticket->done, stream_));
  ticket->recorded = true;
  if (outstanding_.empty()) waited_ = Clock::duration(0);
  outstanding_.push_back(ticket);
}

// With an exception on its way the peers may never come: what is under way is dropped.
void NcclGroup::close() noexcept {
  try {
    const CommCall call = call_of("the end of the group");
    NcclResult result = kNcclSuccess;
    bool leaves = false;
    {
      const auto held = job_->lock();
      leaves = handle_ != nullptr && has_stream_ && std::uncaught_exceptions() == 0;
      if (leaves) result = api_.finalize(handle_);
    }
    if (leaves) {
      settle(call, "ncclCommFinalize", result, handle_);
      const auto held = job_->lock();
      if (handle_ != nullptr) api_.destroy(std::exchange(handle_, nullptr));
    }
  } catch (const std::exception&) {  // the failure is the job's, which has aborted everything
  }
  const auto held = job_->lock();
  abort_handle();
  job_->remove(this);
  outstanding_.clear();
  for (const EventHandle event : all_events_) api_.destroy_event(event);
  if (has_stream_) api_.destroy_stream(stream_);
}

}  // namespace dagpam::parallel

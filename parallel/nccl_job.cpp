#include "parallel/nccl_job.h"

#include <algorithm>
#include <utility>

#include "parallel/comm_error.h"
#include "parallel/nccl_group.h"

namespace dagpam::parallel {

using Clock = std::chrono::steady_clock;

NcclJob::NcclJob(std::shared_ptr<NcclApi> library, const NcclOptions& how)
    : api_(std::move(library)), options_(how) {
  if (options_.watch_every.count() > 0) thread_ = std::thread([this] { run(); });
}

NcclJob::~NcclJob() {
  {
    const auto held = lock();
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void NcclJob::add(NcclGroup* group) { groups_.push_back(group); }

void NcclJob::remove(NcclGroup* group) { std::erase(groups_, group); }

void NcclJob::set_failure(const std::string& words) {
  if (failed()) return;
  failure_ = words;
  for (NcclGroup* group : groups_) group->abort_handle();
}

void NcclJob::throw_failure() {
  noticed_ = true;
  throw CommError(failure_);
}

void NcclJob::watch(Clock::duration gap) {
  // As in poll.h: a process that was stopped and goes on does not take its peers for dead.
  gap = std::min<Clock::duration>(gap, std::chrono::seconds(1));
  std::string words;
  {
    const auto held = lock();
    for (size_t i = 0; !failed() && i < groups_.size(); ++i) groups_[i]->look(gap);
    if (!failed() || noticed_) return;
    unnoticed_ += gap;
    if (unnoticed_ < options_.patience) return;
    noticed_ = true;
    words = failure_;
  }
  if (options_.last_resort) options_.last_resort(words);
}

void NcclJob::run() {
  auto last = Clock::now();
  while (true) {
    {
      auto held = lock();
      if (changed_.wait_for(held, options_.watch_every, [this] { return stopping_; })) return;
    }
    const auto now = Clock::now();
    watch(now - std::exchange(last, now));
  }
}

}  // namespace dagpam::parallel

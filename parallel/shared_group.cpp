#include "parallel/shared_group.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <new>
#include <utility>

#include "parallel/poll.h"

namespace dagpam::parallel {
namespace {

constexpr int kQuestionsBeforeYield = 50;  // about 2 microseconds
constexpr int64_t kShortLead = 2;  // ticks that a short call may begin before the peers are there
constexpr int64_t kTags = 4;
constexpr int64_t kNowhere = -1;
constexpr int64_t kPage = 4096;

constexpr const char* kExpression = "shared memory of the node";

// What all ranks must agree on.
uint64_t tag_of(const CommCall& call, const SharedCall& what) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a by words
  for (const int64_t word :
       {call.sequence, static_cast<int64_t>(what.kind), static_cast<int64_t>(what.op),
        static_cast<int64_t>(what.out.scalar_type()), what.out.numel(),
        static_cast<int64_t>(what.root)}) {
    hash = (hash ^ static_cast<uint64_t>(word)) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

// What a rank lets the others see. Two lines a rank: processors fetch lines in pairs.
struct SharedGroup::Flags {
  alignas(128) std::atomic<int64_t> ticks_done;
  std::atomic<uint64_t> tags[kTags];  // of the calls that the last ticks belong to
  // Of the tensor of a call: region and offset in the rank's part of it; kNowhere: in none.
  std::atomic<int64_t> region, offset;
};

// A call under way.
class SharedGroup::Job {
 public:
  Job(CommCall asked, SharedCall what, const SharedSlabs& slabs, SharedTensors& tensors)
      : call(std::move(asked)),
        tag(tag_of(call, what)),
        transfer(make_transfer(what, slabs, tensors)),
        what_(std::move(what)) {}

  const CommCall call;
  const uint64_t tag;
  const std::unique_ptr<SharedTransfer> transfer;
  int64_t tick = 0;  // the next one
  std::atomic<bool> over{false};
  std::string failure;  // once over

 private:
  const SharedCall what_;  // keeps the tensors
};

class SharedGroup::JobWork : public Work,
                             public MovedBeside,
                             public std::enable_shared_from_this<JobWork> {
 public:
  JobWork(std::shared_ptr<SharedGroup> group, std::shared_ptr<Job> job)
      : group_(std::move(group)), job_(std::move(job)) {}

  void wait() override {
    waited_for_ = true;
    Poll poll(group_->options_.timeout);
    while (!moved(poll)) {
      if (group_->options_.while_waiting) group_->options_.while_waiting();
      if (!poll.pause()) {
        fail(overdue(group_->options_.timeout) + group_->who_is_missing());
      }
    }
    if (!job_->failure.empty()) fail(job_->failure);
  }

  void make_progress() override {
    if (!beside_) group_->options_.engine->drive();
  }

  void keep_moving() override {
    beside_ = group_->options_.move_beside && group_->options_.move_beside(shared_from_this());
  }

  bool test_beside() noexcept override {
    if (!waited_for_) group_->options_.engine->drive();
    return waited_for_ || job_->over;
  }

 private:
  // Asks a few times whether the call is over.
  bool moved(Poll& poll) {
    for (int i = 0; i < kQuestionsBeforeYield; ++i) {
      if (job_->over) return true;
      if (group_->options_.engine->drive()) poll.progressed();
    }
    return job_->over;
  }

  void fail(const std::string& text) const { group_->options_.fail(job_->call, kExpression, text); }

  std::shared_ptr<SharedGroup> group_;
  std::shared_ptr<Job> job_;
  bool beside_ = false;  // another thread moves it
  std::atomic<bool> waited_for_{false};
};

bool SharedEngine::drive() {
  if (busy_groups_.load(std::memory_order_relaxed) == 0) return false;
  const std::lock_guard lock(mutex_);
  bool any = false;
  for (const auto& group : busy_) any = group->advance() || any;
  std::erase_if(busy_, [](const auto& group) {
    group->listed_ = !group->jobs_.empty();
    return !group->listed_;
  });
  busy_groups_ = busy_.size();
  return any;
}

SharedEngine& process_engine() {
  static auto& engine = *new SharedEngine;  // outlives whatever is never waited for
  return engine;
}

size_t SharedGroup::memory_bytes(int size, int64_t piece_bytes) {
  const int64_t slabs = SharedSlabs::bytes_a_rank(size, piece_bytes) * size;
  return sizeof(Flags) * (static_cast<size_t>(size) + 1) + static_cast<size_t>(slabs);
}

SharedGroup::SharedGroup(std::unique_ptr<SharedMemory> memory, int rank, int size,
                         SharedOptions options)
    : memory_(std::move(memory)), options_(std::move(options)) {
  static_assert(std::atomic<int64_t>::is_always_lock_free, "processes share them");
  static_assert(SharedMemory::kHeader <= sizeof(Flags));
  TORCH_CHECK(memory_->bytes() == memory_bytes(size, options_.piece_bytes), "shared memory of ",
              memory_->bytes(), " bytes for ", size, " ranks");
  slabs_.base = memory_->data() + sizeof(Flags) * (static_cast<size_t>(size) + 1);
  slabs_.rank = rank;
  slabs_.size = size;
  slabs_.piece_bytes = options_.piece_bytes;
}

// The first place is the memory's own header. Zeros are flags that nobody has set.
SharedGroup::Flags& SharedGroup::flags(int rank) const {
  auto* const all = std::launder(reinterpret_cast<Flags*>(memory_->data()));
  return all[rank + 1];
}

char* SharedGroup::Region::part(int rank) const {
  return memory->data() + kPage + rank * part_bytes;
}

size_t SharedGroup::region_bytes(int size, int64_t bytes) {
  const int64_t part = (bytes + kPage - 1) / kPage * kPage;
  return static_cast<size_t>(kPage + size * part);
}

std::shared_ptr<char> SharedGroup::add_region(std::unique_ptr<SharedMemory> memory, int64_t bytes) {
  TORCH_CHECK(memory->bytes() == region_bytes(slabs_.size, bytes), "shared memory of ",
              memory->bytes(), " bytes for tensors of ", bytes);
  const std::lock_guard lock(options_.engine->mutex_);
  regions_.push_back({std::move(memory), (bytes + kPage - 1) / kPage * kPage});
  const Region& region = regions_.back();
  return {region.memory, region.part(slabs_.rank)};
}

void SharedGroup::announce(const at::Tensor& mine) {
  const auto* const begin = static_cast<const char*>(mine.const_data_ptr());
  const auto bytes = static_cast<int64_t>(mine.nbytes());
  Flags& own = flags(slabs_.rank);
  own.region.store(kNowhere, std::memory_order_relaxed);
  for (size_t i = 0; i < regions_.size(); ++i) {
    const char* const part = regions_[i].part(slabs_.rank);
    const std::less_equal<> not_after;  // of pointers to different memory too
    if (!not_after(part, begin) || !not_after(begin + bytes, part + regions_[i].part_bytes)) {
      continue;
    }
    own.region.store(static_cast<int64_t>(i), std::memory_order_relaxed);
    own.offset.store(begin - part, std::memory_order_relaxed);
  }
}

std::vector<char*> SharedGroup::places() const {
  std::vector<char*> all;
  for (int r = 0; r < slabs_.size; ++r) {
    const int64_t region = flags(r).region.load(std::memory_order_relaxed);
    if (region == kNowhere || region >= static_cast<int64_t>(regions_.size())) return {};
    all.push_back(regions_[static_cast<size_t>(region)].part(r) +
                  flags(r).offset.load(std::memory_order_relaxed));
  }
  return all;
}

int SharedGroup::missing(int64_t done) const {
  for (int r = 0; r < slabs_.size; ++r) {
    if (flags(r).ticks_done.load(std::memory_order_acquire) < done) return r;
  }
  return -1;
}

int SharedGroup::differing(int64_t tick, uint64_t tag) const {
  for (int r = 0; r < slabs_.size; ++r) {
    if (flags(r).tags[tick % kTags].load(std::memory_order_relaxed) != tag) return r;
  }
  return -1;
}

std::string SharedGroup::who_is_missing() const {
  const std::lock_guard lock(options_.engine->mutex_);
  const int rank = missing(ticks_done_);
  return rank < 0 ? std::string() : "; rank " + std::to_string(rank) + " is behind";
}

WorkPtr SharedGroup::start(const CommCall& call, const SharedCall& what) {
  auto job = std::make_shared<Job>(call, what, slabs_, *this);
  SharedEngine& engine = *options_.engine;
  const std::lock_guard lock(engine.mutex_);
  if (job->transfer->ticks() == 0) {
    job->over = true;
  } else {
    jobs_.push_back(job);
    advance();
    if (!jobs_.empty() && !listed_) {
      engine.busy_.push_back(shared_from_this());
      engine.busy_groups_ = engine.busy_.size();
      listed_ = true;
    }
  }
  return std::make_shared<JobWork>(shared_from_this(), std::move(job));
}

void SharedGroup::fail_all(const std::string& why) {
  failure_ = why;
  for (const auto& job : jobs_) {
    job->failure = why;
    job->over = true;
  }
  jobs_.clear();
}

bool SharedGroup::run_front() {
  Job& job = *jobs_.front();
  const bool first = job.tick == 0;
  const int64_t lead = first && job.transfer->is_short() ? kShortLead : 0;
  if (missing(ticks_done_ - lead) >= 0) return false;
  if (job.tick == 1) {
    const int other = differing(ticks_done_ - 1, job.tag);
    if (other >= 0) {
      fail_all("rank " + std::to_string(other) +
               " makes another call, or this one of another type or size");
      return true;
    }
  }
  job.transfer->run(job.tick, ticks_done_);
  Flags& mine = flags(slabs_.rank);
  mine.tags[ticks_done_ % kTags].store(job.tag, std::memory_order_relaxed);
  mine.ticks_done.store(++ticks_done_, std::memory_order_release);
  if (++job.tick == job.transfer->ticks()) {
    job.over = true;
    jobs_.pop_front();
  }
  return true;
}

bool SharedGroup::advance() {
  if (!failure_.empty()) {
    fail_all(std::string(failure_));
    return false;
  }
  bool any = false;
  while (!jobs_.empty() && run_front()) any = true;
  return any;
}

}  // namespace dagpam::parallel

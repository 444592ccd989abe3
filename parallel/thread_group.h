// parallel/thread_group.h: where ranks that are threads of one process meet. Used by
// thread_communicator.cpp alone.
//
// The ranks of a group post their part of call number n; the last one to arrive does the work for
// all, in rank order. So an asynchronous call costs its caller nothing, and sums do not depend on
// timing.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm_checks.h"

namespace dagpam::parallel {

// All ranks of one run_ranks_as_threads, whatever groups they form. One lock serves all of them.
struct ThreadJob {
  std::mutex mutex;
  std::condition_variable changed;
  std::chrono::milliseconds timeout{0};
  bool failed = false;
  std::string reason;

  void fail(const std::string& why);  // wakes everyone; the first reason stays
};

class ThreadGroup;

// What one rank brings to a call and takes from it.
struct Post {
  std::string agreement{};  // must be the same on all ranks: collective, arguments, shape
  at::Tensor in{}, out{};
  int colour = 0, key = 0;               // split: brought
  std::shared_ptr<ThreadGroup> group{};  // split: taken
  int rank = 0;
};

// One call of a group under way.
struct Meeting {
  explicit Meeting(size_t size) : posts(size) {}
  std::vector<Post> posts;  // by rank
  size_t arrived = 0;
  bool done = false;
};
using MeetingPtr = std::shared_ptr<Meeting>;

class ThreadGroup {
 public:
  ThreadGroup(std::shared_ptr<ThreadJob> job, std::string name, int size)
      : job_(std::move(job)), name_(std::move(name)), size_(size) {}

  int size() const { return size_; }
  const std::string& name() const { return name_; }
  const std::shared_ptr<ThreadJob>& job() const { return job_; }

  // Brings a rank's part of its call.sequence-th call; the last rank runs `work` on all of them.
  // Does not wait. Throws CommError.
  MeetingPtr post(const CommCall& call, Post post, const std::function<void(Meeting&)>& work);

  // Until the last rank has done the work. Throws CommError.
  void wait(const CommCall& call, const MeetingPtr& meeting);

  // From one rank to another; both wait for each other. Throws CommError.
  void send(const CommCall& call, const at::Tensor& t, int to);
  void recv(const CommCall& call, at::Tensor& t, int from);

 private:
  struct Letter {
    at::Tensor content;
    bool taken = false;
  };

  // Waits for `ready`, called under the lock; throws where the job fails or the time is over.
  void wait_for(std::unique_lock<std::mutex>& lock, const CommCall& call,
                const std::function<bool()>& ready);
  void throw_if_failed(const CommCall& call) const;  // under the lock

  std::shared_ptr<ThreadJob> job_;
  std::string name_;
  int size_;
  std::map<int64_t, MeetingPtr> open_;                                       // by sequence number
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Letter>>> mail_;  // by (from, to)
};

}  // namespace dagpam::parallel

#include "parallel/thread_group.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "parallel/comm_checks.h"
#include "parallel/comm_error.h"

namespace dagpam::parallel {
namespace {

// Empty where all ranks made the same call.
std::string disagreement(const Meeting& meeting) {
  const std::string& first = meeting.posts[0].agreement;
  for (size_t rank = 1; rank < meeting.posts.size(); ++rank) {
    const std::string& other = meeting.posts[rank].agreement;
    if (other != first) {
      return "rank 0 called " + first + ", but rank " + std::to_string(rank) + " called " + other;
    }
  }
  return {};
}

std::string text_of(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error != nullptr ? torch_error->msg() : error.what();
}

}  // namespace

void ThreadJob::fail(const std::string& why) {
  const std::lock_guard lock(mutex);
  if (!failed) {
    failed = true;
    reason = why;
  }
  changed.notify_all();
}

void ThreadGroup::throw_if_failed(const CommCall& call) const {
  if (job_->failed) {
    throw CommError(comm_failure(call, "ranks as threads", "the job has failed: " + job_->reason));
  }
}

MeetingPtr ThreadGroup::post(const CommCall& call, Post post,
                             const std::function<void(Meeting&)>& work) {
  MeetingPtr meeting;
  {
    const std::lock_guard lock(job_->mutex);
    throw_if_failed(call);
    MeetingPtr& open = open_[call.sequence];
    if (open == nullptr) {
      open = std::make_shared<Meeting>(static_cast<size_t>(size_));
    }
    meeting = open;
    meeting->posts[static_cast<size_t>(call.rank)] = std::move(post);
    if (++meeting->arrived < static_cast<size_t>(size_)) {
      return meeting;
    }
    open_.erase(call.sequence);
  }
  std::string problem = disagreement(*meeting);
  if (problem.empty()) {
    try {
      const c10::AutoGradMode no_grad(false);
      work(*meeting);
    } catch (const std::exception& error) {
      problem = text_of(error);
    }
  }
  if (!problem.empty()) {
    const std::string text = comm_failure(call, "ranks as threads", problem);
    job_->fail(text);
    throw CommError(text);
  }
  for (Post& one : meeting->posts) {  // a rank that is late does not keep the others' tensors
    one.in.reset();
    one.out.reset();
  }
  const std::lock_guard lock(job_->mutex);
  meeting->done = true;
  job_->changed.notify_all();
  return meeting;
}

void ThreadGroup::wait_for(std::unique_lock<std::mutex>& lock, const CommCall& call,
                           const std::function<bool()>& ready) {
  const auto deadline = std::chrono::steady_clock::now() + job_->timeout;
  while (!ready()) {
    throw_if_failed(call);
    if (job_->changed.wait_until(lock, deadline) == std::cv_status::timeout && !ready()) {
      throw_if_failed(call);
      const std::string text = comm_failure(call, "ranks as threads", overdue(job_->timeout));
      lock.unlock();
      job_->fail(text);
      throw CommError(text);
    }
  }
}

void ThreadGroup::wait(const CommCall& call, const MeetingPtr& meeting) {
  std::unique_lock lock(job_->mutex);
  wait_for(lock, call, [&] { return meeting->done; });
}

void ThreadGroup::send(const CommCall& call, const at::Tensor& t, int to) {
  auto letter = std::make_shared<Letter>();
  letter->content = t;
  std::unique_lock lock(job_->mutex);
  throw_if_failed(call);
  mail_[{call.rank, to}].push_back(letter);
  job_->changed.notify_all();
  wait_for(lock, call, [&] { return letter->taken; });
}

void ThreadGroup::recv(const CommCall& call, at::Tensor& t, int from) {
  std::unique_lock lock(job_->mutex);
  auto& box = mail_[{from, call.rank}];
  wait_for(lock, call, [&] { return !box.empty(); });
  const std::shared_ptr<Letter> letter = box.front();
  box.pop_front();
  const at::Tensor& sent = letter->content;
  if (sent.scalar_type() != t.scalar_type() || sent.numel() != t.numel()) {
    const std::string text = comm_failure(call, "ranks as threads", "was sent " + describe(sent));
    lock.unlock();
    job_->fail(text);
    throw CommError(text);
  }
  const c10::AutoGradMode no_grad(false);
  t.view({-1}).copy_(sent.view({-1}));
  letter->taken = true;
  job_->changed.notify_all();
}

}  // namespace dagpam::parallel

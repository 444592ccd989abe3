#include <ATen/core/Tensor.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "parallel/comm_checks.h"
#include "parallel/communicator.h"
#include "parallel/thread_group.h"

namespace dagpam::parallel {
namespace {

void reduce_into(at::Tensor& total, const at::Tensor& t, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      total.add_(t);
      return;
    case ReduceOp::kMax:
      at::maximum_out(total, total, t);
      return;
    case ReduceOp::kMin:
      at::minimum_out(total, total, t);
      return;
  }
}

void do_all_reduce(Meeting& meeting, ReduceOp op) {
  at::Tensor& total = meeting.posts[0].out;
  for (size_t rank = 1; rank < meeting.posts.size(); ++rank) {
    reduce_into(total, meeting.posts[rank].out, op);
  }
  for (size_t rank = 1; rank < meeting.posts.size(); ++rank) {
    meeting.posts[rank].out.copy_(total);
  }
}

// Part `rank` of `whole`, flat.
at::Tensor part_of(const at::Tensor& whole, size_t rank, int64_t elements) {
  return whole.view({-1}).narrow(0, static_cast<int64_t>(rank) * elements, elements);
}

void do_all_gather(Meeting& meeting) {
  for (Post& receiver : meeting.posts) {
    for (size_t rank = 0; rank < meeting.posts.size(); ++rank) {
      const at::Tensor& in = meeting.posts[rank].in;
      part_of(receiver.out, rank, in.numel()).copy_(in.view({-1}));
    }
  }
}

void do_reduce_scatter(Meeting& meeting) {
  for (size_t receiver = 0; receiver < meeting.posts.size(); ++receiver) {
    at::Tensor& out = meeting.posts[receiver].out;
    at::Tensor total = part_of(meeting.posts[0].in, receiver, out.numel()).clone();
    for (size_t rank = 1; rank < meeting.posts.size(); ++rank) {
      total.add_(part_of(meeting.posts[rank].in, receiver, out.numel()));
    }
    out.view({-1}).copy_(total);
  }
}

void do_broadcast(Meeting& meeting, int root) {
  const at::Tensor source = meeting.posts[static_cast<size_t>(root)].out;
  for (size_t rank = 0; rank < meeting.posts.size(); ++rank) {
    if (rank != static_cast<size_t>(root)) {
      meeting.posts[rank].out.copy_(source);
    }
  }
}

void do_split(Meeting& meeting, const ThreadGroup& parent, int64_t sequence) {
  std::map<int, std::vector<std::tuple<int, size_t>>> colours;  // (key, old rank) by colour
  for (size_t rank = 0; rank < meeting.posts.size(); ++rank) {
    colours[meeting.posts[rank].colour].emplace_back(meeting.posts[rank].key, rank);
  }
  for (auto& [colour, members] : colours) {
    std::sort(members.begin(), members.end());
    const std::string name =
        parent.name() + "/" + std::to_string(sequence) + "." + std::to_string(colour);
    auto group =
        std::make_shared<ThreadGroup>(parent.job(), name, static_cast<int>(members.size()));
    for (size_t i = 0; i < members.size(); ++i) {
      Post& post = meeting.posts[std::get<1>(members[i])];
      post.group = group;
      post.rank = static_cast<int>(i);
    }
  }
}

class ThreadWork : public Work {
 public:
  ThreadWork(std::shared_ptr<ThreadGroup> group, CommCall call, MeetingPtr meeting)
      : group_(std::move(group)), call_(std::move(call)), meeting_(std::move(meeting)) {}

  void wait() override {
    if (meeting_ != nullptr) {
      group_->wait(call_, meeting_);
      meeting_.reset();
    }
  }

 private:
  std::shared_ptr<ThreadGroup> group_;
  CommCall call_;
  MeetingPtr meeting_;
};

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank)
      : group_(std::move(group)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  std::string name() const override { return group_->name(); }

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    check_reduced("all_reduce", t);
    count_call(counts_.all_reduce, t);
    return start(std::string("all_reduce ") + name_of(op) + " " + describe(t), {.out = t},
                 [op](Meeting& all) { do_all_reduce(all, op); });
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("all_gather", out, in, size());
    count_call(counts_.all_gather, out);
    return start("all_gather " + describe(in), {.in = in, .out = out}, do_all_gather);
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("reduce_scatter", in, out, size());
    check_reduced("reduce_scatter", in);
    count_call(counts_.reduce_scatter, in);
    return start("reduce_scatter " + describe(in), {.in = in, .out = out}, do_reduce_scatter);
  }

  void broadcast(at::Tensor& t, int root) override {
    check_tensor("broadcast", t);
    check_rank("broadcast", root, size());
    count_call(counts_.broadcast, t);
    meet("broadcast from rank " + std::to_string(root) + " " + describe(t), {.out = t},
         [root](Meeting& all) { do_broadcast(all, root); });
  }

  void send(const at::Tensor& t, int to) override {
    check_peer("send", t, to);
    count_call(counts_.send, t);
    group_->send(call_of("send to rank " + std::to_string(to) + " " + describe(t)), t, to);
  }

  void recv(at::Tensor& t, int from) override {
    check_peer("recv", t, from);
    count_call(counts_.recv, t);
    group_->recv(call_of("recv from rank " + std::to_string(from) + " " + describe(t)), t, from);
  }

  void barrier() override {
    ++counts_.barrier.calls;
    meet("barrier", {}, [](Meeting&) {});
  }

  std::unique_ptr<Communicator> split(int colour, int key) override {
    TORCH_CHECK(colour >= 0, "split: colour ", colour, " is negative");
    ++counts_.split.calls;
    const int64_t sequence = sequence_;
    const MeetingPtr meeting =
        meet("split", {.colour = colour, .key = key},
             [this, sequence](Meeting& all) { do_split(all, *group_, sequence); });
    const Post& mine = meeting->posts[static_cast<size_t>(rank_)];
    return std::make_unique<ThreadCommunicator>(mine.group, mine.rank);
  }

  // The ranks are this process.
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  CommCall call_of(std::string collective) const {
    return {rank_, size(), name(), std::move(collective), sequence_};
  }

  CommCall next(std::string collective) {
    CommCall call = call_of(std::move(collective));
    ++sequence_;
    return call;
  }

  WorkPtr start(const std::string& collective, Post post,
                const std::function<void(Meeting&)>& work) {
    const CommCall call = next(collective);
    post.agreement = collective;
    MeetingPtr meeting = group_->post(call, std::move(post), work);
    return std::make_shared<ThreadWork>(group_, call, std::move(meeting));
  }

  MeetingPtr meet(const std::string& collective, Post post,
                  const std::function<void(Meeting&)>& work) {
    const CommCall call = next(collective);
    post.agreement = collective;
    MeetingPtr meeting = group_->post(call, std::move(post), work);
    group_->wait(call, meeting);
    return meeting;
  }

  void check_peer(const char* collective, const at::Tensor& t, int peer) const {
    check_tensor(collective, t);
    check_rank(collective, peer, size());
    TORCH_CHECK(peer != rank_, collective, ": rank ", rank_, " is this rank itself");
  }

  std::shared_ptr<ThreadGroup> group_;
  int rank_;
  int64_t sequence_ = 0;  // collectives so far; send and recv do not count, they concern two ranks
};

}  // namespace

void run_ranks_as_threads(int size, const std::function<void(Communicator&)>& fn,
                          std::chrono::milliseconds timeout) {
  TORCH_CHECK(size >= 1, "a job of ", size, " ranks: at least 1 is needed");
  auto job = std::make_shared<ThreadJob>();
  job->timeout = timeout;
  auto world = std::make_shared<ThreadGroup>(job, "thread world", size);
  std::exception_ptr first;
  std::mutex first_mutex;
  const auto keep_first = [&](const std::string& why) {
    {
      const std::lock_guard lock(first_mutex);
      if (first == nullptr) {
        first = std::current_exception();
      }
    }
    job->fail(why);
  };

  std::vector<std::jthread> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.emplace_back([&, rank] {
      try {
        ThreadCommunicator communicator(world, rank);
        fn(communicator);
      } catch (const std::exception& error) {
        keep_first("rank " + std::to_string(rank) + " ended with: " + error.what());
      } catch (...) {
        keep_first("rank " + std::to_string(rank) + " ended with an unknown exception");
      }
    });
  }
  for (std::jthread& rank : ranks) {
    rank.join();
  }
  if (first != nullptr) {
    std::rethrow_exception(first);
  }
}

}  // namespace dagpam::parallel

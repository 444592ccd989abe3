#include "data/thread_peers.h"

#include <barrier>
#include <exception>
#include <string>
#include <thread>
#include <vector>

namespace dagpam::data {
namespace {

// What the threads of a process share.
struct Meeting {
  Meeting(Peers& outside, int number)
      : outer(outside), threads(number), given(static_cast<size_t>(number)), gate(number) {}

  Peers& outer;
  const int threads;
  std::vector<std::string> given;   // by thread
  std::vector<std::string> result;  // by rank
  std::exception_ptr failure;       // of the outer call
  std::barrier<> gate;
};

class ThreadPeers final : public Peers {
 public:
  ThreadPeers(Meeting& meeting, int thread) : meeting_(meeting), thread_(thread) {}

  int rank() const override { return meeting_.outer.rank() * meeting_.threads + thread_; }
  int size() const override { return meeting_.outer.size() * meeting_.threads; }

  std::vector<std::string> all_gather(const std::string& mine) override {
    meeting_.given[static_cast<size_t>(thread_)] = mine;
    meeting_.gate.arrive_and_wait();
    if (thread_ == 0) exchange();
    meeting_.gate.arrive_and_wait();
    if (meeting_.failure) std::rethrow_exception(meeting_.failure);
    // Thread 0 writes it again only after all have come to the next call.
    return meeting_.result;
  }

 private:
  void exchange() {
    try {
      meeting_.result.clear();
      for (const std::string& rank : meeting_.outer.all_gather(pack(meeting_.given))) {
        for (std::string& thread : unpack(rank)) meeting_.result.push_back(std::move(thread));
      }
    } catch (...) {
      meeting_.failure = std::current_exception();
    }
  }

  Meeting& meeting_;
  const int thread_;
};

}  // namespace

void run_in_threads(Peers& outer, int threads, const std::function<void(Peers&)>& work) {
  if (threads == 1) return work(outer);
  Meeting meeting(outer, threads);
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) {
    others.emplace_back([&meeting, &work, thread] {
      ThreadPeers peers(meeting, thread);
      try {
        work(peers);
      } catch (...) {  // the caller's thread has the same
      }
    });
  }
  std::exception_ptr failure;
  try {
    ThreadPeers peers(meeting, 0);
    work(peers);
  } catch (...) {
    failure = std::current_exception();
  }
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace dagpam::data

// parallel/poll.h: waiting for a library that only tells when asked.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace dagpam::parallel {

// Between two questions: gives the core to whoever needs it (there may be more ranks than cores),
// and sleeps once the wait is no longer a short one. Also keeps the time. A gap between two
// questions counts for one second at most, so that a rank that was stopped and goes on does not
// take its peers for dead.
class Poll {
 public:
  explicit Poll(std::chrono::milliseconds timeout) : left_(timeout) {}

  // What is waited for gets on: the wait for its next part is a new one. The time runs on.
  void progressed() { idle_ = Clock::duration{0}; }

  // Waits a moment; false once the timeout is over.
  bool pause() {
    if (idle_ < kYieldFor) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kNap);
    }
    const auto now = Clock::now();
    const auto gap = std::min<Clock::duration>(now - last_, std::chrono::seconds(1));
    last_ = now;
    waited_ += gap;
    idle_ += gap;
    return waited_ < left_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kYieldFor{2};
  static constexpr std::chrono::microseconds kNap{50};

  Clock::duration left_;
  Clock::duration waited_{0}, idle_{0};  // since the start, since the last progress
  Clock::time_point last_ = Clock::now();
};

}  // namespace dagpam::parallel

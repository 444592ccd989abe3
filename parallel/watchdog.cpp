#include "parallel/watchdog.h"

#include <algorithm>
#include <utility>

namespace dagpam::parallel {

Watchdog::Watchdog(Options options) : options_(std::move(options)), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

void Watchdog::enter(const char* section, int64_t step, std::chrono::milliseconds limit) {
  const std::lock_guard lock(mutex_);
  current_.section = section;
  current_.step = step;
  current_.limit = limit;
  spent_ = {};
}

void Watchdog::watch() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point last = Clock::now();
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, options_.tick, [this] { return over_; })) {
    const Clock::time_point now = Clock::now();
    spent_ += std::min<Clock::duration>(now - last, 2 * options_.tick);
    last = now;
    if (current_.limit.count() == 0 || spent_ < current_.limit) continue;
    const Expired expired = current_;
    lock.unlock();
    options_.on_expiry(expired);
    return;
  }
}

}  // namespace dagpam::parallel

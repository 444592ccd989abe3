// parallel/watchdog.h: a thread that notices when this rank no longer gets on.
//
// The work is divided into sections with a time each may take (a start, a step, an evaluation, a
// checkpoint). Collectives have their own timeout; the watchdog is for everything else that can
// hang: a read, a write, a loop, a library. Knows no torch and no MPI.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace dagpam::parallel {

class Watchdog {
 public:
  struct Expired {
    std::string section;
    int64_t step = 0;
    std::chrono::milliseconds limit{0};
  };
  struct Options {
    std::function<void(const Expired&)> on_expiry;  // once, in the watchdog's thread
    std::chrono::milliseconds tick{1000};           // how often it looks
  };

  explicit Watchdog(Options options);
  ~Watchdog();  // ends the thread; waits for an expiry under way
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // From now on this section may take `limit`; the one before is over. 0: any time. Each call
  // starts the time anew, so a section of many parts calls at each. Callable from any thread; no
  // wait. A rank that is stopped and goes on is not taken to hang: time in which the watchdog's own
  // thread did not run counts for two ticks at most.
  void enter(const char* section, int64_t step, std::chrono::milliseconds limit);

 private:
  void watch();

  Options options_;
  std::mutex mutex_;
  std::condition_variable ended_;
  Expired current_;  // under mutex_, as are the next two
  std::chrono::steady_clock::duration spent_{0};
  bool over_ = false;
  std::thread thread_;
};

}  // namespace dagpam::parallel

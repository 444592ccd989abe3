#include "trainer/stop_signal.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

constexpr std::array<int, 4> kSignals{SIGTERM, SIGINT, SIGUSR1, SIGPIPE};
std::array<struct sigaction, kSignals.size()> previous;
volatile std::sig_atomic_t pending = 0;
std::atomic<int64_t> pending_since{0};  // milliseconds

// mpirun hands on a SIGUSR1 that the batch system has sent to the ranks as well: the same signal
// again within this time is the same wish.
constexpr int64_t kSameWishMs = 2000;
std::mutex mutex;
int living = 0;  // objects; the ranks of a test are threads of one process

int64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

// Calls only what may be called in a signal handler.
void on_signal(int number) {
  if (number == SIGPIPE) return;
  if (pending == number && now_ms() - pending_since < kSameWishMs) return;
  if (pending != 0) {
    static const char kWords[] = "dagpam: a second signal: ending at once, nothing more is saved\n";
    const int error = errno;
    if (::write(STDERR_FILENO, kWords, sizeof kWords - 1) < 0) errno = error;
    _exit(static_cast<int>(ExitCode::kInterrupted));
  }
  pending_since = now_ms();
  pending = number;
}

}  // namespace

StopSignal::StopSignal() {
  const std::lock_guard lock(mutex);
  if (living++ > 0) return;
  pending = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &previous[i]);
}

StopSignal::~StopSignal() {
  const std::lock_guard lock(mutex);
  if (--living > 0) return;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous[i], nullptr);
}

int StopSignal::received() const { return pending; }

}  // namespace dagpam::trainer

#include "trainer/stop_signal.h"

#include <unistd.h>

#include <array>
#include <csignal>

#include "configs/errors.h"

namespace dagpam::trainer {

namespace {

constexpr std::array<int, 3> kSignals{SIGTERM, SIGINT, SIGUSR1};
std::array<struct sigaction, kSignals.size()> previous;
volatile std::sig_atomic_t pending = 0;

// Calls only what may be called in a signal handler.
void on_signal(int number) {
  if (pending != 0) _exit(static_cast<int>(ExitCode::kInterrupted));
  pending = number;
}

}  // namespace

StopSignal::StopSignal() {
  pending = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &previous[i]);
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous[i], nullptr);
}

int StopSignal::received() const { return pending; }

}  // namespace dagpam::trainer

#include "parallel/thread_stacks.h"

#include <dirent.h>
#include <execinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace dagpam::parallel {
namespace {

constexpr int kFrames = 48;
constexpr int kNapsToAnswer = 1000;  // of a millisecond

std::atomic<int> target{-1};
std::atomic<bool> answered{false};

int signal_number() { return SIGRTMIN + 3; }

void print(int fd, const char* text) {
  // A report that cannot be written has nowhere to go.
  if (::write(fd, text, std::strlen(text)) < 0) return;
}

// In the thread that is asked.
void on_signal(int) {
  const int saved = errno;
  const int fd = target.load();
  if (fd >= 0) {
    std::array<void*, kFrames> frames{};
    const int count = ::backtrace(frames.data(), kFrames);
    ::backtrace_symbols_fd(frames.data(), count, fd);
  }
  answered.store(true);
  errno = saved;
}

void ask(int fd, long process, long thread, const char* name) {
  print(fd, "thread ");
  print(fd, name);
  print(fd, ":\n");
  answered.store(false);
  if (::syscall(SYS_tgkill, process, thread, signal_number()) != 0) return;
  const timespec nap{0, 1'000'000};
  for (int i = 0; i < kNapsToAnswer && !answered.load(); ++i) ::nanosleep(&nap, nullptr);
  if (!answered.load()) print(fd, "  does not answer: it waits for a device or is being traced\n");
}

}  // namespace

void prepare_thread_stacks() {
  std::array<void*, 2> frames{};
  ::backtrace(frames.data(), 2);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(signal_number(), &action, nullptr);
}

void write_thread_stacks(int fd) {
  DIR* tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return;
  target.store(fd);
  while (const dirent* entry = ::readdir(tasks)) {
    const long thread = std::atol(entry->d_name);
    if (thread > 0) ask(fd, ::getpid(), thread, entry->d_name);
  }
  target.store(-1);
  ::closedir(tasks);
}

}  // namespace dagpam::parallel

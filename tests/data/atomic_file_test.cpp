#include "data/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>

#include "configs/errors.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::data {
namespace {

std::atomic<int> g_signals{0};

// Signals at every millisecond to the calling thread, which break its system calls off.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction action {};
    action.sa_handler = [](int) { ++g_signals; };
    ::sigaction(SIGALRM, &action, &old_);
    const itimerval every{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &every, nullptr);
  }
  ~Interruptions() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &old_, nullptr);
  }

 private:
  struct sigaction old_ {};
};

// A pipe with a slow reader takes part of each write; a signal then ends the call early.
TEST(AtomicFileTest, WritesAllThroughShortWritesAndSignals) {
  std::string bytes(2'000'003, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 >> 3);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::string got;
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  ::pthread_sigmask(SIG_BLOCK, &alarm,
                    nullptr);  // the reader inherits this: signals are for the writer
  std::thread reader([&] {
    std::string block(40'000, '\0');
    for (ssize_t n = 0; (n = ::read(ends[0], block.data(), block.size())) > 0;) {
      got.append(block, 0, static_cast<size_t>(n));
      ::usleep(2000);
    }
  });
  ::pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
  {
    const Interruptions interruptions;
    write_fully(ends[1], bytes.data(), bytes.size(), "pipe");
  }
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  EXPECT_GT(g_signals, 0);
  EXPECT_TRUE(got == bytes) << got.size();
}

TEST(AtomicFileTest, FullDeviceIsNamed) {
  const int fd = ::open("/dev/full", O_WRONLY);
  if (fd < 0) GTEST_SKIP() << "no /dev/full";
  expect_message(message_of<IoError>([&] { write_fully(fd, "abc", 3, "some/file"); }),
                 {"some/file", "write", "No space left"});
  ::close(fd);
}

TEST(AtomicFileTest, AppearsWholeAtCommit) {
  const ScratchFolder folder;
  write_bytes(folder / "a", "old");
  AtomicFile file(folder / "a");
  file.write("ne", 2);
  file.write("w", 1);
  file.sync();
  EXPECT_EQ(read_bytes(folder / "a"), "old");
  file.commit();
  EXPECT_EQ(read_bytes(folder / "a"), "new");
  EXPECT_EQ(folder.names(), std::set<std::string>{"a"});
}

TEST(AtomicFileTest, FolderInPlaceOfTheFileIsNamed) {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "a");
  {
    AtomicFile file(folder / "a");
    expect_message(message_of<IoError>([&] { file.commit(); }), {"/a", "rename"});
  }
  EXPECT_EQ(folder.names(), std::set<std::string>{"a"});
}

}  // namespace
}  // namespace dagpam::data

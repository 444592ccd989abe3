#include "parallel/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <system_error>

namespace dagpam::parallel {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw NoSharedMemory(what + ": " + std::generic_category().message(error));
}

std::array<char, 40> boot_of_this_node() {
  std::string text;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
  std::array<char, 40> boot{};
  std::copy_n(text.begin(), std::min(text.size(), boot.size()), boot.begin());
  return boot;
}

// Never 0, which is what memory that nobody has written holds.
uint64_t random_token() {
  std::random_device random;
  return (static_cast<uint64_t>(random()) << 32 | random()) | 1;
}

// Half of what the system, or the container, has: reserving more would not fail but have processes
// killed.
uint64_t most_to_ask_for() {
  uint64_t most = 0, limit = 0;
  std::string word;
  std::ifstream system("/proc/meminfo");
  while (system >> word && word != "MemAvailable:") {
  }
  system >> most;  // KiB
  most *= 1024;
  for (const char* path : {"/sys/fs/cgroup/memory.max",  // "max" where there is none
                           "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (std::ifstream(path) >> limit) most = std::min(most, limit);
  }
  return most / 2;
}

std::string text_of(uint64_t bytes) { return std::to_string(bytes) + " bytes of shared memory"; }

}  // namespace

SharedMemory::SharedMemory(size_t bytes) {
  ticket_.bytes = bytes;
  ticket_.boot = boot_of_this_node();
  ticket_.process = getpid();
  if (const uint64_t most = most_to_ask_for(); bytes > most) {
    throw NoSharedMemory("no room for " + text_of(bytes) + ": at most " + std::to_string(most) +
                         ", half of the available memory, are asked for");
  }
  ticket_.descriptor = memfd_create("dagpam", MFD_CLOEXEC);
  if (ticket_.descriptor < 0) fail("memfd_create", errno);
  // Pages that are missing are found out here, not by a signal at their first use.
  const int error = posix_fallocate(ticket_.descriptor, 0, static_cast<off_t>(bytes));
  if (error != 0) {
    close();
    fail("no room for " + text_of(bytes), error);
  }
  try {
    map(ticket_.descriptor);
  } catch (...) {
    close();
    throw;
  }
  ticket_.token = random_token();
  std::memcpy(data_, &ticket_.token, sizeof ticket_.token);
}

SharedMemory::SharedMemory(const SharedTicket& ticket) : ticket_(ticket) {
  ticket_.descriptor = -1;
  const std::string path =
      "/proc/" + std::to_string(ticket.process) + "/fd/" + std::to_string(ticket.descriptor);
  // In a container of its own this may be any process's file: look before touching it.
  const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) fail("opening " + path, errno);
  struct stat seen {};
  const bool same_size = fstat(descriptor, &seen) == 0 && S_ISREG(seen.st_mode) &&
                         static_cast<uint64_t>(seen.st_size) == ticket.bytes;
  try {
    if (!same_size) throw NoSharedMemory(path + " is not the memory of the peer");
    map(descriptor);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
  if (std::memcmp(data_, &ticket.token, sizeof ticket.token) != 0) {
    munmap(data_, ticket_.bytes);
    throw NoSharedMemory(path + " is not the memory of the peer");
  }
}

SharedMemory::~SharedMemory() {
  close();
  if (data_ != nullptr) munmap(data_, ticket_.bytes);
}

void SharedMemory::map(int descriptor) {
  void* const where =
      mmap(nullptr, ticket_.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (where == MAP_FAILED) fail("mapping " + text_of(ticket_.bytes), errno);
  data_ = static_cast<char*>(where);
}

void SharedMemory::close() {
  if (ticket_.descriptor >= 0) ::close(ticket_.descriptor);
  ticket_.descriptor = -1;
}

bool on_this_node(const SharedTicket& ticket) { return ticket.boot == boot_of_this_node(); }

}  // namespace dagpam::parallel

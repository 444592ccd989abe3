// parallel/shared_memory.h: memory that several processes of one node have mapped. Knows no torch
// and no MPI.
//
// It has no name in any folder (memfd_create), so that neither a small /dev/shm, as containers have
// it, limits it, nor anything is left behind by a process that is killed. All of its pages are
// there from the start: creating it fails where there is no room, or where it would be more than
// half of the available memory, and no later access does. Others of the same user map it through
// /proc while its maker keeps it open, by a ticket that they were sent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace dagpam::parallel {

// One clause: what could not be done, and the system's words.
class NoSharedMemory : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What another process needs to map it; plain bytes.
struct SharedTicket {
  uint64_t bytes = 0, token = 0;  // token: random, also the memory's own first words
  int32_t process = 0, descriptor = -1;
  std::array<char, 40> boot{};  // of the system that runs there: the same on ranks of one node
};

class SharedMemory {
 public:
  // Its first kHeader bytes are not for the caller's use; the rest is zeros.
  static constexpr size_t kHeader = 64;

  explicit SharedMemory(size_t bytes);                // new; throws NoSharedMemory
  explicit SharedMemory(const SharedTicket& ticket);  // another's; throws NoSharedMemory
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  char* data() const { return data_; }  // aligned to a page
  size_t bytes() const { return ticket_.bytes; }

  // Of memory that is new here, until close().
  const SharedTicket& ticket() const { return ticket_; }
  // All who shall map it have done so.
  void close();

 private:
  void map(int descriptor);

  SharedTicket ticket_;
  char* data_ = nullptr;
};

// Whether the maker of `ticket` runs under the same system as this process.
bool on_this_node(const SharedTicket& ticket);

}  // namespace dagpam::parallel

// parallel/flight_recorder.h: what each rank of this node did last, where the others can read it.
//
// A rank that hangs cannot tell what it waits for, and one that is stopped cannot even print. So
// each rank writes its section, step and collective into a slot of one small file that all ranks of
// the node have mapped: a few stores to memory, no call of the system. The file outlives the job,
// for whoever looks later; ranks of other nodes have a file of their own. Knows no torch and no
// MPI.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dagpam::parallel {

// A rank's last words.
struct FlightEntry {
  int rank = 0;
  int64_t process = 0;     // its id; 0: this rank has not written yet, or runs on another node
  std::string section;     // e.g. "step"
  int64_t step = 0;        // counted from 1
  std::string collective;  // e.g. "waits for all_reduce Float [1024]"; empty: none yet
  int64_t calls = 0;       // collectives that it has begun, of all its groups
  double seconds_ago = 0;  // since the last of all this was written
};

class FlightRecorder {
 public:
  // In memory of its own: nobody else reads it yet.
  FlightRecorder(int rank, int ranks);
  ~FlightRecorder();
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  // From now on in the file `path`, which is made where it is missing. Once; by the thread that
  // writes. Throws std::system_error with the path (no space, no rights, not a plain file).
  void share(const std::string& path);

  // By any thread of this rank, one at a time. What is too long is cut.
  void section(std::string_view name, int64_t step);
  void collective_begins(std::string_view what);
  void collective_waits(std::string_view what);

  // All ranks' last words. Callable from any thread, at any time; a slot that is being written just
  // now is read again.
  std::vector<FlightEntry> read() const;

 private:
  static constexpr size_t kSlotWords = 24, kSectionWords = 3, kCollectiveWords = 12;
  struct Slot {
    std::atomic<uint64_t> words[kSlotWords];
  };
  enum Word : size_t { kVersion, kProcess, kStep, kCalls, kTime, kSection };
  static constexpr size_t kCollective = kSection + kSectionWords;
  static_assert(kCollective + kCollectiveWords <= kSlotWords);

  template <class Fn>
  void write(const Fn& fn);
  static void put_text(Slot& slot, size_t first, size_t words, std::string_view text);
  FlightEntry entry(int rank) const;

  size_t bytes() const { return sizeof(Slot) * static_cast<size_t>(ranks_); }

  int rank_, ranks_;
  std::vector<Slot> own_;
  std::atomic<Slot*> slots_;  // own_, or the file's
};

// One line a rank: "rank 1: section step, step 7, call 311 waits for ..., 12.0 s ago (process 4711
// is stopped)". The state is the system's, for processes of this node.
std::string to_text(const std::vector<FlightEntry>& entries);

}  // namespace dagpam::parallel

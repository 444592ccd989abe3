// parallel/shared_group.h: collectives of ranks of one node through memory that all have mapped.
// For the mpi_*.cpp files; knows no MPI.
//
// Each rank has a count of its ticks (shared_transfer.h) that the others read; nobody writes what
// another writes. Calls of a group are done one after the other in the order in which they were
// made. They move only inside calls: whoever waits, for whatever, moves the calls of all groups of
// the process (SharedEngine), so that ranks may wait for calls of several groups in any order.
//
// A rank that has to wait asks a few times, then gives its core away between questions, then sleeps
// (poll.h): there may be more ranks than cores.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "parallel/beside.h"
#include "parallel/comm_checks.h"
#include "parallel/communicator.h"
#include "parallel/shared_memory.h"
#include "parallel/shared_transfer.h"

namespace dagpam::parallel {

class SharedGroup;

// The groups of a rank with calls under way.
class SharedEngine {
 public:
  // Moves what can be moved without waiting; whether anything was. From any thread.
  bool drive();

 private:
  friend class SharedGroup;
  std::mutex mutex_;  // of all that follows and of the groups' calls
  std::vector<std::shared_ptr<SharedGroup>> busy_;
  std::atomic<size_t> busy_groups_{0};  // 0: nothing to lock for
};

// That of this process, which is a rank.
SharedEngine& process_engine();

struct SharedOptions {
  std::chrono::milliseconds timeout{0};
  int64_t piece_bytes = int64_t{512} << 10;  // a multiple of 64
  SharedEngine* engine = nullptr;            // outlives the group
  // While a call waits: lets other libraries move on.
  std::function<void()> while_waiting{};
  // Throws CommError.
  std::function<void(const CommCall&, const char* expression, const std::string& text)> fail{};
  // Gives a call to a thread of its own; false: there is none.
  std::function<bool(std::shared_ptr<MovedBeside>)> move_beside{};
};

class SharedGroup : public std::enable_shared_from_this<SharedGroup>, public SharedTensors {
 public:
  static size_t memory_bytes(int size, int64_t piece_bytes);

  // `memory` is the same for all ranks, of memory_bytes, and new.
  SharedGroup(std::unique_ptr<SharedMemory> memory, int rank, int size, SharedOptions options);

  // Arguments checked. All ranks make the same calls in the same order; one that finds that a peer
  // makes another call says so where it waits.
  WorkPtr start(const CommCall& call, const SharedCall& what);

  // Memory for tensors of this group, `bytes` for each rank, in which sums need no copies. All
  // ranks add the same `memory`, of region_bytes, new, in the same order. Returns this rank's part,
  // zeros; the group keeps it too.
  static size_t region_bytes(int size, int64_t bytes);
  std::shared_ptr<char> add_region(std::unique_ptr<SharedMemory> memory, int64_t bytes);

 private:
  friend class SharedEngine;
  class Job;
  class JobWork;
  struct Flags;

  bool advance();  // holding the engine's mutex; whether anything was done
  bool run_front();
  void fail_all(const std::string& why);
  int missing(int64_t done) const;                  // a rank that has done fewer ticks, or -1
  int differing(int64_t tick, uint64_t tag) const;  // a rank with another call, or -1
  std::string who_is_missing() const;
  Flags& flags(int rank) const;
  void announce(const at::Tensor& mine) override;
  std::vector<char*> places() const override;

  // The ranks' parts follow each other.
  struct Region {
    std::shared_ptr<SharedMemory> memory;
    int64_t part_bytes = 0;
    char* part(int rank) const;
  };

  std::unique_ptr<SharedMemory> memory_;
  const SharedOptions options_;
  SharedSlabs slabs_;
  std::vector<Region> regions_;  // under the engine's mutex
  int64_t ticks_done_ = 0;
  std::deque<std::shared_ptr<Job>> jobs_;  // under way, in order
  bool listed_ = false;                    // among the engine's busy groups
  std::string failure_;                    // from here on nothing moves
};

}  // namespace dagpam::parallel

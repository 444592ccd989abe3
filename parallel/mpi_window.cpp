#include "parallel/mpi_window.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "parallel/mpi_errors.h"
#include "parallel/mpi_progress.h"
#include "parallel/mpi_work.h"

namespace dagpam::parallel {
namespace {

// How a rank fared.
struct Answer {
  int32_t has_it = 0, same_node = 1;
  std::array<char, 248> why{};

  void keep(const std::string& text) {
    std::copy_n(text.begin(), std::min(text.size(), why.size() - 1), why.begin());
  }
};

// Open MPI moves on inside any call.
void let_mpi_move() {
  int there = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_SELF, &there, MPI_STATUS_IGNORE);
}

void say_once(const std::string& line) {
  static bool said = false;
  if (!std::exchange(said, true)) std::fprintf(stderr, "%s\n", line.c_str());
}

class Maker {
 public:
  Maker(MPI_Comm comm, CommCall call, const MpiOptions& options)
      : comm_(comm), call_(std::move(call)), options_(options) {}

  std::unique_ptr<SharedMemory> make(size_t bytes) {
    SharedTicket ticket;
    Answer mine;
    std::unique_ptr<SharedMemory> memory;
    if (call_.rank == 0) {
      memory = attempt(mine, [&] { return std::make_unique<SharedMemory>(bytes); });
      if (memory) ticket = memory->ticket();
    }
    share(ticket);
    if (call_.rank != 0) {
      const bool made = ticket.bytes > 0;
      mine.same_node = !made || on_this_node(ticket) ? 1 : 0;
      if (made && mine.same_node != 0) {
        memory = attempt(mine, [&] { return std::make_unique<SharedMemory>(ticket); });
      }
    }
    if (!agree(mine)) return nullptr;
    memory->close();
    return memory;
  }

 private:
  template <class Fn>
  static std::unique_ptr<SharedMemory> attempt(Answer& mine, const Fn& fn) {
    try {
      auto memory = fn();
      mine.has_it = 1;
      return memory;
    } catch (const NoSharedMemory& error) {
      mine.keep(error.what());
      return nullptr;
    }
  }

  void share(SharedTicket& ticket) {
    MpiWork work(call_, options_.timeout, {});
    DAGPAM_MPI(call_, MPI_Ibcast(&ticket, sizeof ticket, MPI_BYTE, 0, comm_,
                                 static_cast<MPI_Request*>(work.add())));
    work.wait();
  }

  bool agree(const Answer& mine) {
    std::vector<Answer> all(static_cast<size_t>(call_.size));
    MpiWork work(call_, options_.timeout, {});
    DAGPAM_MPI(call_, MPI_Iallgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine,
                                     MPI_BYTE, comm_, static_cast<MPI_Request*>(work.add())));
    work.wait();
    if (std::any_of(all.begin(), all.end(), [](const Answer& a) { return a.same_node == 0; })) {
      return false;
    }
    // Rank 0's failure is everybody's: its own words first.
    const auto bad =
        std::find_if(all.begin(), all.end(), [](const Answer& a) { return a.has_it == 0; });
    if (bad == all.end()) return true;
    const std::string why =
        "rank " + std::to_string(bad - all.begin()) + ": " + std::string(bad->why.data());
    if (options_.shared_memory == SharedMemoryUse::kOn) {
      fail_mpi(call_, "shared memory of the node", why);
    }
    if (call_.rank == 0) {
      say_once("dagpam: no shared memory for '" + call_.group + "' (" + why +
               "): its collectives are MPI's");
    }
    return false;
  }

  MPI_Comm comm_;
  CommCall call_;
  const MpiOptions& options_;
};

}  // namespace

std::unique_ptr<SharedMemory> make_mpi_memory(void* comm, CommCall call, const MpiOptions& options,
                                              size_t bytes) {
  return Maker(*static_cast<MPI_Comm*>(comm), std::move(call), options).make(bytes);
}

std::shared_ptr<SharedGroup> make_mpi_window(void* comm, CommCall call, const MpiOptions& options) {
  if (call.size == 1 || options.shared_memory == SharedMemoryUse::kOff) return nullptr;
  const int rank = call.rank, size = call.size;
  auto memory = make_mpi_memory(comm, std::move(call), options,
                                SharedGroup::memory_bytes(size, options.piece_bytes));
  if (!memory) return nullptr;
  return std::make_shared<SharedGroup>(std::move(memory), rank, size,
                                       SharedOptions{.timeout = options.timeout,
                                                     .piece_bytes = options.piece_bytes,
                                                     .engine = &process_engine(),
                                                     .while_waiting = let_mpi_move,
                                                     .fail = fail_mpi,
                                                     .move_beside = move_beside});
}

}  // namespace dagpam::parallel

// parallel/backend.h: on what a job's ranks compute and over what they talk: GPUs and NCCL, or CPUs
// and MPI. One process a GPU: a rank's GPU is the one of its number among the ranks of its node.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/session.h"

namespace dagpam::parallel {

enum class Backend { kAuto, kMpi, kNccl };

Backend parse_backend(const std::string& name);  // AUTO, MPI or NCCL

// The job cannot run on what was asked for. One line: what, where, what to do.
class BackendUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a rank sees.
struct RankDevices {
  std::string host;
  int local_rank = 0, local_size = 1;  // among the ranks of its node
  int gpus = 0;
  std::string why_none;         // where gpus is 0
  int nccl = 0;                 // loaded version, as NCCL_VERSION_CODE; 0: none
  bool may_share_gpus = false;  // NCCL_MULTI_RANK_GPU_ENABLE=1
};
RankDevices look_at_devices(const Session& session);

struct BackendChoice {
  bool gpus = false;         // NCCL, or with one rank a GPU alone; else MPI and CPUs
  std::vector<int> devices;  // by rank, where gpus
  std::string why;           // one clause, for the run's header
};

// The same on every rank: a function of what all ranks see (in rank order). AUTO takes GPUs where
// every rank has one. Several ranks share a GPU only where NCCL is 2.30 or later and
// NCCL_MULTI_RANK_GPU_ENABLE=1. Throws BackendUnavailable where NCCL is asked for and cannot be.
BackendChoice choose_backend(Backend asked, const std::vector<RankDevices>& ranks);

struct World {
  std::unique_ptr<Communicator> communicator;
  std::string describe;  // e.g. "NCCL 2.28.9 and MPI on 8 GPUs (NVIDIA H100; every rank has a GPU)"
};

// AUTO, ON or OFF.
SharedMemoryUse parse_shared_memory(const std::string& name);

// The group of all ranks on the chosen back end. A collective over all processes. Throws
// BackendUnavailable, and CommError where shared memory that is asked for (kOn) cannot be had.
World open_world(Session& session, Backend asked, std::chrono::seconds timeout,
                 SharedMemoryUse shared_memory = SharedMemoryUse::kAuto);

// One rank by itself, without MPI.
World open_alone(Backend asked);

}  // namespace dagpam::parallel

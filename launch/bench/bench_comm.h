// launch/bench/bench_comm.h: time and bandwidth of each collective over sizes, with nccl-tests'
// columns (github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md) and every element checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace dagpam::launch {

struct CommBenchOptions {
  std::vector<std::string> ops;  // empty: all
  int64_t min_bytes = 1024, max_bytes = int64_t{1} << 24;
  int64_t factor = 4;  // from one size to the next
  int64_t iterations = 20, warmup = 3;
  int64_t rounds = 1;  // in which `plain` takes turns
  bool json = false;
};

const std::vector<std::string>& comm_bench_ops();

// Float32. size is the larger side in bytes, count what a rank gives (all_gather) or gets
// (reduce_scatter), time the mean of the slowest rank, algbw = size / time, busbw = algbw times
// 2 (n - 1) / n for all_reduce, (n - 1) / n for all_gather and reduce_scatter, 1 for broadcast and
// sendrecv (in a ring); wrong counts elements that are not the closed form's, over all ranks. Rank
// 0 prints; all ranks of `world` call. Returns whether nothing was wrong. Throws ConfigError for an
// operation or sizes that cannot be.
//
// all_reduce is of a tensor such as gradients are summed in (parallel/shared_tensors.h). With
// `plain`, another group of all ranks, each row ends with its time and the ratio of ours to it; for
// all_reduce the same of any other tensor, where ranks share memory, and of MPI_Allreduce itself.
// Times are then medians of the rounds.
bool bench_comm(const CommBenchOptions& options, parallel::Communicator& world,
                parallel::Communicator* plain = nullptr);

}  // namespace dagpam::launch

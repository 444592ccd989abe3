// parallel/mpi_cores.h: whether the ranks leave cores of their nodes free. For the mpi_*.cpp files.
#pragma once

#include <bitset>
#include <vector>

namespace dagpam::parallel {

// What a rank computes with.
struct CoreShare {
  std::bitset<1024> cores;  // that it may use, by number
  int threads = 1;
};

// Of the ranks of a node that may use cores of `mine`, itself among them: are there more cores than
// threads?
bool leaves_cores_free(const CoreShare& mine, const std::vector<CoreShare>& node);

// Whether every rank of the job leaves cores free, `threads` being this rank's number. By the cores
// that ranks are bound to; a limit on processor time (cgroups) is not seen. A collective over all
// processes of the job, once, with the same answer on all: later calls repeat it. Throws CommError.
bool mpi_leaves_cores_free(int threads);

}  // namespace dagpam::parallel

// launch/doctor/judge.h: what is wrong with a job, from what its ranks see. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/finding.h"
#include "launch/doctor/surroundings.h"

namespace dagpam::launch {

// What the run that is being prepared will want.
struct Needs {
  std::string backend = "AUTO";  // as parallel.backend
  double rank_memory = 0;        // bytes of host memory a rank; 0: not known
};

// Each looks at one thing; `ranks` in rank order, one at least.
Findings judge_versions(const std::vector<Surroundings>& ranks);  // build, versions, environment
Findings judge_cores(const std::vector<Surroundings>& ranks);     // threads against cores
Findings judge_gpus(const std::vector<Surroundings>& ranks, const Needs& needs);
Findings judge_memory(const std::vector<Surroundings>& ranks, const Needs& needs);
Findings judge_limits(const std::vector<Surroundings>& ranks);  // files, locked memory, shm

// All of them, in this order.
Findings judge(const std::vector<Surroundings>& ranks, const Needs& needs);

// Descriptors that a rank may need in a job of so many: a few hundred, and sockets to its peers.
double files_needed(size_t ranks);

}  // namespace dagpam::launch

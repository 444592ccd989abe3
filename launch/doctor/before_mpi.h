// launch/doctor/before_mpi.h: what keeps ranks from finding each other, looked for before MPI is
// opened, which might wait for ever or end the process in words of its own. Torch-free.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/doctor/finding.h"

namespace dagpam::launch {

using Environment = std::function<const char*(const char*)>;

// Interfaces that the environment names for MPI or NCCL, but that this node lacks.
// NCCL_SOCKET_IFNAME holds prefixes, with "^" or "=" before them (NCCL's documentation,
// "Environment Variables"), Open MPI's lists names or networks such as 10.0.0.0/8 (left to it).
// `have`: this node's.
Findings judge_interfaces(const Environment& get, const std::vector<std::string>& have);

// A hostfile for mpirun: its lines, names that do not resolve, and too few slots for `ranks` (0:
// not known). `resolves` is asked for each name.
Findings judge_hostfile(const std::string& path, int ranks,
                        const std::function<bool(const std::string&)>& resolves);

bool host_resolves(const std::string& name);

}  // namespace dagpam::launch

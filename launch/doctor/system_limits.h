// launch/doctor/system_limits.h: what the kernel grants this process. Linux; torch-free.
#pragma once

#include <string>
#include <vector>

namespace dagpam::launch {

inline constexpr double kNoLimit = -1;

// The tightest limit on the way from this process's control group to the root, of version 1 or 2.
struct GroupLimits {
  std::string name;          // of the group that processor time is counted in
  double cores = kNoLimit;   // worth of processor time
  double memory = kNoLimit;  // bytes
  double memory_used = 0;    // bytes, of that group
};

// `root` is "/" or a test's: the files below it are proc/self/cgroup and sys/fs/cgroup/...
GroupLimits group_limits(const std::string& root = "/");

std::vector<int> own_cores();                   // numbers of those that this process may use
double available_memory();                      // bytes, of the whole node
double free_shared_memory();                    // bytes in /dev/shm; kNoLimit without one
double open_files_limit();                      // descriptors
double locked_memory_limit();                   // bytes
int infiniband_devices();                       // that verbs would use
std::vector<std::string> network_interfaces();  // names, each once

}  // namespace dagpam::launch

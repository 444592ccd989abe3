#include "launch/doctor/system_limits.h"

#include <ifaddrs.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace dagpam::launch {
namespace {

namespace fs = std::filesystem;

// The words of a file's first line; none where it cannot be read.
std::vector<std::string> words_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// A number; kNoLimit of "max", of nothing, and of version 1's way to say that there is none.
double number_of(const std::vector<std::string>& words, size_t index) {
  if (words.size() <= index) return kNoLimit;
  char* end = nullptr;
  const double value = std::strtod(words[index].c_str(), &end);
  const bool whole = end != nullptr && *end == '\0';
  return whole && value >= 0 && value < 9e18 ? value : kNoLimit;
}

void tighten(double& limit, double other) {
  if (other != kNoLimit && (limit == kNoLimit || other < limit)) limit = other;
}

void read_memory(const fs::path& folder, const char* limit, const char* used, GroupLimits& out) {
  const double most = number_of(words_of(folder / limit), 0);
  if (most == kNoLimit || (out.memory != kNoLimit && most >= out.memory)) return;
  out.memory = most;
  out.memory_used = std::max(0.0, number_of(words_of(folder / used), 0));
}

void read_cores(const fs::path& folder, GroupLimits& out) {
  const auto both = words_of(folder / "cpu.max");  // version 2: quota and period
  double quota = number_of(both, 0), period = number_of(both, 1);
  if (both.empty()) {
    quota = number_of(words_of(folder / "cpu.cfs_quota_us"), 0);
    period = number_of(words_of(folder / "cpu.cfs_period_us"), 0);
  }
  if (quota > 0 && period > 0) tighten(out.cores, quota / period);
}

// From the group up to the root of its hierarchy. In a container the path may be one of the host's,
// which is not mounted here: then the hierarchy's root is the container's own group.
template <typename Read>
void climb(const fs::path& hierarchy, const std::string& group, const Read& read) {
  fs::path relative = fs::path(group).relative_path();
  while (!relative.empty()) {
    read(hierarchy / relative);
    relative = relative.parent_path();
  }
  read(hierarchy);
}

double limit_of(__rlimit_resource resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

GroupLimits group_limits(const std::string& root) {
  GroupLimits out;
  const fs::path mounts = fs::path(root) / "sys/fs/cgroup";
  std::ifstream file(fs::path(root) / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string group = line.substr(second + 1);
    std::istringstream names(line.substr(first + 1, second - first - 1));
    if (second == first + 1) {
      const bool hybrid = fs::exists(mounts / "unified");
      climb(hybrid ? mounts / "unified" : mounts, group, [&](const fs::path& folder) {
        read_memory(folder, "memory.max", "memory.current", out);
        read_cores(folder, out);
      });
      if (out.name.empty()) out.name = group;
    }
    for (std::string name; std::getline(names, name, ',');) {
      if (name == "memory") {
        climb(mounts / "memory", group, [&](const fs::path& folder) {
          read_memory(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", out);
        });
      } else if (name == "cpu") {
        climb(mounts / "cpu", group, [&](const fs::path& folder) { read_cores(folder, out); });
        out.name = group;
      }
    }
  }
  return out;
}

std::vector<int> own_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

double available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemAvailable:")) return std::strtod(line.c_str() + 13, nullptr) * 1024;
  }
  return kNoLimit;
}

double free_shared_memory() {
  struct statvfs status {};
  if (statvfs("/dev/shm", &status) != 0) return kNoLimit;
  return static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize);
}

double open_files_limit() { return limit_of(RLIMIT_NOFILE); }

double locked_memory_limit() { return limit_of(RLIMIT_MEMLOCK); }

int infiniband_devices() {
  std::error_code error;
  int devices = 0;
  for (fs::directory_iterator at("/sys/class/infiniband", error), end; !error && at != end;
       at.increment(error)) {
    ++devices;
  }
  return devices;
}

std::vector<std::string> network_interfaces() {
  std::set<std::string> names;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return {};
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) names.insert(at->ifa_name);
  freeifaddrs(list);
  return {names.begin(), names.end()};
}

}  // namespace dagpam::launch

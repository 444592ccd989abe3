#include "launch/doctor/judge.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "launch/doctor/system_limits.h"

namespace dagpam::launch {
namespace {

constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

// Open MPI's segments, and with GPUs NCCL's buffers between the ranks of a node, bytes a rank.
constexpr double kSharedMemory = 8 * kMiB, kSharedMemoryGpu = 64 * kMiB;
constexpr double kLockedMemory = 1 * kGiB;   // less, and verbs cannot register what NCCL sends
constexpr double kLeastMemory = 512 * kMiB;  // LibTorch and MPI alone, a rank

std::string size_text(double bytes) {
  char text[32];
  if (bytes >= kGiB) {
    std::snprintf(text, sizeof text, "%.1f GiB", bytes / kGiB);
  } else {
    std::snprintf(text, sizeof text, "%.1f MiB", bytes / kMiB);
  }
  return text;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string count(size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

using Nodes = std::map<std::string, std::vector<const Surroundings*>>;
Nodes by_node(const std::vector<Surroundings>& ranks) {
  Nodes nodes;
  for (const Surroundings& rank : ranks) nodes[rank.host].push_back(&rank);
  return nodes;
}

// "'a' on ranks 0-2, 'b' on rank 3": ranks by what they have, in order of their first.
std::string who_has_what(const std::vector<std::string>& values) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<int>> owners;
  for (size_t rank = 0; rank < values.size(); ++rank) {
    if (!owners.contains(values[rank])) order.push_back(values[rank]);
    owners[values[rank]].push_back(static_cast<int>(rank));
  }
  std::string text;
  for (const std::string& value : order) {
    text += (text.empty() ? "" : ", ") + value + " on " + ranks_text(owners[value]);
  }
  return text;
}

bool differ(const std::vector<std::string>& values) {
  return std::any_of(values.begin(), values.end(),
                     [&](const std::string& value) { return value != values.front(); });
}

template <typename Get>
std::vector<std::string> values_of(const std::vector<Surroundings>& ranks, const Get& get) {
  std::vector<std::string> values;
  for (const Surroundings& rank : ranks) values.push_back(get(rank));
  return values;
}

std::string value_or(const std::map<std::string, std::string>& map, const std::string& key,
                     const char* otherwise) {
  const auto found = map.find(key);
  return found == map.end() ? otherwise : found->second;
}

}  // namespace

double files_needed(size_t ranks) { return 256 + 4 * static_cast<double>(ranks); }

Findings judge_versions(const std::vector<Surroundings>& ranks) {
  Findings findings;
  const auto builds = values_of(ranks, [](const Surroundings& r) { return r.build.substr(0, 12); });
  if (differ(builds)) {
    findings.push_back({Level::kError, "build.differs",
                        "the ranks run other builds: digest " + who_has_what(builds),
                        "start the same file on every node, by one path that all see"});
  }
  std::set<std::string> names, variables;
  for (const Surroundings& rank : ranks) {
    for (const auto& [name, version] : rank.versions) names.insert(name);
    for (const auto& [name, value] : rank.environment) variables.insert(name);
  }
  for (const std::string& name : names) {
    const auto versions =
        values_of(ranks, [&](const Surroundings& r) { return value_or(r.versions, name, "none"); });
    if (!differ(versions)) continue;
    // A node that serves no GPU has no driver: what that means is judged where GPUs are.
    const bool driver = name == "CUDA driver";
    findings.push_back({driver ? Level::kWarning : Level::kError, "versions.differ",
                        name + " is " + who_has_what(versions),
                        driver ? "give the nodes one driver, or leave the odd ones out"
                               : "load the same libraries on every node"});
  }
  for (const std::string& name : variables) {
    const auto values = values_of(ranks, [&](const Surroundings& r) {
      const auto found = r.environment.find(name);
      return found == r.environment.end() ? std::string("unset") : "'" + found->second + "'";
    });
    if (!differ(values)) continue;
    findings.push_back({Level::kError, "environment.differs", name + " is " + who_has_what(values),
                        "pass it on to every rank: mpirun -x " + name + ", srun --export=ALL"});
  }
  return findings;
}

Findings judge_cores(const std::vector<Surroundings>& ranks) {
  Findings findings;
  for (const auto& [host, node] : by_node(ranks)) {
    std::set<int> seen;  // ranks that another one's line has named
    std::map<std::string, std::pair<double, double>> groups;  // limit, threads
    for (const Surroundings* rank : node) {
      auto& [limit, threads] = groups[rank->group];
      limit = rank->group_cores;
      threads += rank->threads;
      if (seen.contains(rank->rank) || rank->cores.empty()) continue;
      std::vector<int> together;  // ranks that may use cores of this one's
      std::set<int> cores(rank->cores.begin(), rank->cores.end());
      const std::set<int> own = cores;
      int wanted = 0;
      for (const Surroundings* other : node) {
        const bool meets = std::any_of(other->cores.begin(), other->cores.end(),
                                       [&](int core) { return own.contains(core); });
        if (!meets) continue;
        together.push_back(other->rank);
        cores.insert(other->cores.begin(), other->cores.end());
        wanted += other->threads;
      }
      if (static_cast<size_t>(wanted) <= cores.size()) continue;
      seen.insert(together.begin(), together.end());
      findings.push_back(
          {Level::kWarning, "cores.shared",
           count(static_cast<size_t>(wanted), "thread") + " on " + count(cores.size(), "core") +
               " for " + ranks_text(together) + " on " + host,
           "set OMP_NUM_THREADS to the cores a rank has, or give it more: mpirun --map-by "
           "ppr:RANKS:node:PE=CORES, srun --cpus-per-task=CORES"});
    }
    for (const auto& [group, use] : groups) {
      if (use.first == kNoLimit || use.second <= use.first) continue;
      findings.push_back({Level::kWarning, "cores.quota",
                          number_text(use.second) + " threads on " + host +
                              ", but the control group '" + group + "' grants the time of " +
                              number_text(use.first) + " cores",
                          "ask for more processor time, or start fewer threads"});
    }
  }
  return findings;
}

Findings judge_gpus(const std::vector<Surroundings>& ranks, const Needs& needs) {
  Findings findings;
  const bool any = std::any_of(ranks.begin(), ranks.end(),
                               [](const Surroundings& rank) { return rank.gpus > 0; });
  if (needs.backend == "MPI" || (!any && needs.backend == "AUTO")) return findings;
  const Level level = needs.backend == "NCCL" ? Level::kError : Level::kWarning;
  const std::string otherwise = needs.backend == "NCCL" ? "" : "; AUTO then takes CPUs everywhere";
  for (const auto& [host, node] : by_node(ranks)) {
    const int gpus = node.front()->gpus;
    const size_t here = node.size();
    std::vector<int> blind;
    for (const Surroundings* rank : node) {
      if (rank->gpus == 0) blind.push_back(rank->rank);
    }
    if (!blind.empty()) {
      findings.push_back({level, "gpus.none",
                          "no GPU for " + ranks_text(blind) + " on " + host + " (" +
                              node.front()->why_no_gpu + ")" + otherwise,
                          "ask for GPUs (--gpus-per-node), look at nvidia-smi and "
                          "CUDA_VISIBLE_DEVICES there, or choose parallel.backend MPI"});
    } else if (here > static_cast<size_t>(gpus)) {
      findings.push_back({level, "gpus.few",
                          count(here, "rank") + " on " + host + ", but " +
                              count(static_cast<size_t>(gpus), "GPU") + otherwise,
                          "start as many ranks a node as it has GPUs"});
    } else if (here < static_cast<size_t>(gpus)) {
      findings.push_back({Level::kWarning, "gpus.idle",
                          host + " has " + count(static_cast<size_t>(gpus), "GPU") + ", but " +
                              count(here, "rank") + ": the rest would be idle",
                          "start as many ranks a node as it has GPUs"});
    }
  }
  return findings;
}

Findings judge_memory(const std::vector<Surroundings>& ranks, const Needs& needs) {
  Findings findings;
  for (const auto& [host, node] : by_node(ranks)) {
    const Surroundings& first = *node.front();
    const double limited =
        first.group_memory == kNoLimit
            ? first.memory
            : std::min(first.memory, first.group_memory - first.group_memory_used);
    const double each = std::max(kLeastMemory, needs.rank_memory);
    const double wanted = each * static_cast<double>(node.size());
    if (first.memory == kNoLimit || limited >= wanted) continue;
    const bool by_group = limited < first.memory;
    findings.push_back(
        {Level::kError, "memory.short",
         count(node.size(), "rank") + " on " + host + " need about " + size_text(wanted) +
             " of memory, " + size_text(std::max(0.0, limited)) + " are left" +
             (by_group ? " to the control group" : ""),
         by_group ? "ask for more (srun --mem, docker --memory), or start fewer ranks a node"
                  : "end what else runs there, or start fewer ranks a node"});
  }
  return findings;
}

Findings judge_limits(const std::vector<Surroundings>& ranks) {
  Findings findings;
  for (const auto& [host, node] : by_node(ranks)) {
    const Surroundings& first = *node.front();
    const double files = files_needed(ranks.size());
    if (first.open_files != kNoLimit && first.open_files < files) {
      findings.push_back({Level::kError, "limits.files",
                          "ranks on " + host + " may open " + number_text(first.open_files) +
                              " files, " + number_text(files) + " are needed",
                          "raise it before the start: ulimit -n " + number_text(4 * files)});
    }
    if (first.infiniband > 0 && first.locked_memory != kNoLimit &&
        first.locked_memory < kLockedMemory) {
      findings.push_back({Level::kWarning, "limits.locked",
                          "ranks on " + host + " may lock " + size_text(first.locked_memory) +
                              " of memory, and InfiniBand wants to lock what it sends",
                          "ulimit -l unlimited before the start; for Slurm LimitMEMLOCK=infinity "
                          "of slurmd and PropagateResourceLimitsExcept=MEMLOCK"});
    }
    const double shm =
        static_cast<double>(node.size()) * (first.gpus > 0 ? kSharedMemoryGpu : kSharedMemory);
    if (node.size() > 1 && first.shared_memory < shm) {
      const std::string has = first.shared_memory == kNoLimit
                                  ? "has no /dev/shm"
                                  : "has " + size_text(first.shared_memory) + " left in /dev/shm";
      findings.push_back(
          {Level::kWarning, "limits.shm",
           host + " " + has + ", " + count(node.size(), "rank") + " there may want " +
               size_text(shm),
           "make it larger: mount -o remount,size=8g /dev/shm, docker --shm-size=8g"});
    }
  }
  return findings;
}

Findings judge(const std::vector<Surroundings>& ranks, const Needs& needs) {
  Findings all;
  for (const Findings& some : {judge_versions(ranks), judge_cores(ranks), judge_gpus(ranks, needs),
                               judge_memory(ranks, needs), judge_limits(ranks)}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace dagpam::launch

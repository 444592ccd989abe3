#include "launch/doctor/report.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

namespace dagpam::launch {
namespace {

constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

std::string limit_text(double value, double unit, const char* name) {
  return value < 0 ? "unlimited" : format("%.0f%s", value / unit, name);
}

std::string versions_line(const Surroundings& rank) {
  std::string text;
  for (const char* name : {"dagpam", "LibTorch", "MPI", "NCCL", "CUDA runtime", "CUDA driver"}) {
    const auto found = rank.versions.find(name);
    if (found == rank.versions.end()) continue;
    text += (text.empty() ? "" : ", ") + std::string(name) + " " + found->second;
  }
  return text;
}

std::string nodes_lines(const std::vector<Surroundings>& ranks) {
  std::map<std::string, std::vector<int>> nodes;
  for (const Surroundings& rank : ranks) nodes[rank.host].push_back(rank.rank);
  std::string text;
  for (const auto& [host, members] : nodes) {
    const Surroundings& first = ranks[static_cast<size_t>(members.front())];
    text += format(
        "node       %s: %s, %zu cores and %d threads a rank, %d GPUs, %.1f GiB of memory "
        "left\n",
        host.c_str(), ranks_text(members).c_str(), first.cores.size(), first.threads, first.gpus,
        first.memory / kGiB);
    text += format(
        "limits     %s open files, %s locked, %s in /dev/shm, control group: %s of memory, "
        "%s cores\n",
        limit_text(first.open_files, 1, "").c_str(),
        limit_text(first.locked_memory, kMiB, " MiB").c_str(),
        first.shared_memory < 0 ? "none" : limit_text(first.shared_memory, kMiB, " MiB").c_str(),
        limit_text(first.group_memory, kMiB, " MiB").c_str(),
        limit_text(first.group_cores, 1, "").c_str());
  }
  return text;
}

std::string environment_lines(const Surroundings& rank) {
  std::string text;
  for (const auto& [name, value] : rank.environment) {
    text += format("variable   %s=%s\n", name.c_str(), value.c_str());
  }
  return text;
}

double worst_clock(const std::vector<double>& clocks) {
  double worst = 0;
  for (const double ahead : clocks) worst = std::max(worst, std::abs(ahead));
  return worst;
}

std::string probes_lines(const DoctorReport& report) {
  std::string text;
  if (!report.backend.empty()) text += "backend    " + report.backend + "\n";
  if (report.reduce.seconds > 0) {
    text += format("all_reduce %.0f MiB in %.2f ms: %.2f GB/s on the bus, %s\n",
                   report.reduce.bytes / kMiB, report.reduce.seconds * 1e3, report.reduce.bus_gb_s,
                   report.reduce.right ? "every sum right" : "sums wrong");
  }
  if (report.clocks.size() > 1) {
    text += format("clocks     within %.3f s of rank 0's\n", worst_clock(report.clocks));
  }
  if (report.folder_asked && !report.folder.folder.empty()) {
    text += format("folder     %s: %.1f GiB free, ", report.folder.folder.c_str(),
                   report.folder.free_bytes / kGiB);
    text += report.folder.write_mb_s > 0
                ? format("written at %.0f MB/s, fsync %.1f ms, rename %.1f ms\n",
                         report.folder.write_mb_s, report.folder.fsync_ms, report.folder.rename_ms)
                : std::string("not timed\n");
  }
  return text;
}

size_t count_level(const Findings& findings, Level level) {
  return static_cast<size_t>(std::count_if(findings.begin(), findings.end(),
                                           [&](const Finding& f) { return f.level == level; }));
}

}  // namespace

std::string to_text(const DoctorReport& report, bool strict) {
  std::string text;
  if (!report.ranks.empty()) {
    text += "versions   " + versions_line(report.ranks.front()) + "\n" + nodes_lines(report.ranks) +
            environment_lines(report.ranks.front());
  }
  text += probes_lines(report);
  for (const Finding& finding : report.findings) text += to_line(finding) + "\n";
  const size_t errors = count_level(report.findings, Level::kError);
  const size_t warnings = count_level(report.findings, Level::kWarning);
  if (errors + warnings == 0) return text + "doctor     nothing is wrong\n";
  return text + format("doctor     %zu errors, %zu warnings: exit %d\n", errors, warnings,
                       static_cast<int>(exit_code_of(report.findings, strict)));
}

std::string to_json_line(const DoctorReport& report, bool strict) {
  using Json = nlohmann::ordered_json;
  Json findings = Json::array();
  for (const Finding& finding : report.findings) findings.push_back(to_json(finding));
  Json out{{"healthy", report.findings.empty()},
           {"code", static_cast<int>(exit_code_of(report.findings, strict))},
           {"findings", findings},
           {"ranks", report.ranks.size()}};
  if (!report.ranks.empty()) {
    out["versions"] = report.ranks.front().versions;
    out["environment"] = report.ranks.front().environment;
    Json hosts = Json::array();
    for (const Surroundings& rank : report.ranks) hosts.push_back(rank.host);
    out["hosts"] = hosts;
  }
  if (!report.backend.empty()) out["backend"] = report.backend;
  if (report.reduce.seconds > 0) {
    out["all_reduce"] = {{"bytes", report.reduce.bytes},
                         {"ms", report.reduce.seconds * 1e3},
                         {"busbw_gbs", report.reduce.bus_gb_s},
                         {"right", report.reduce.right}};
  }
  if (report.clocks.size() > 1) out["clock_skew_s"] = worst_clock(report.clocks);
  if (report.folder_asked) {
    out["folder"] = {{"path", report.folder.folder},
                     {"free_gib", report.folder.free_bytes / kGiB},
                     {"write_mb_s", report.folder.write_mb_s},
                     {"fsync_ms", report.folder.fsync_ms},
                     {"rename_ms", report.folder.rename_ms}};
  }
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace dagpam::launch

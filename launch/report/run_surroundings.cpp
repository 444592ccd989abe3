#include "launch/report/run_surroundings.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include "trainer/checkpoint/this_start.h"

namespace dagpam::launch {

namespace {

// The number that follows `words` in `line`, if they are there.
std::optional<int64_t> number_after(std::string_view line, std::string_view words) {
  const size_t at = line.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  line.remove_prefix(at + words.size());
  int64_t number = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  return error == std::errc() && number >= 0 ? std::optional(number) : std::nullopt;
}

// Lines are "TIME LEVEL words", as trainer/telemetry/log.h writes them.
void read_log(const std::string& path, RunHistory& run) {
  std::ifstream in(path);
  const bool known = run.planned_steps > 0;
  for (std::string line; std::getline(in, line);) {
    if (const auto steps = number_after(line, " I length     ")) {
      if (!known) run.planned_steps = *steps;  // the last start's
    } else if (line.find(" I resuming from ") != std::string::npos) {
      if (const auto step = number_after(line, " (step ")) run.resumed.push_back(*step);
    } else if (const auto step = number_after(line, " I going back from step ")) {
      run.returned.push_back(*step);
    }
  }
}

// "host NAME", "pid 12", ... of the process that holds the run; empty after a clean end.
void read_lock(const std::string& path, RunHistory& run) {
  std::ifstream in(path);
  std::string host, pid;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("host ")) host = line.substr(5);
    if (line.starts_with("pid ")) pid = line.substr(4);
  }
  if (host.empty() || pid.empty()) return;
  run.holder = host + ", process " + pid;
  const auto number = number_after(pid, "");
  std::error_code ignored;
  run.is_alive = number && host == checkpoint::host_name() &&
                 std::filesystem::exists("/proc/" + std::to_string(*number), ignored);
}

}  // namespace

void read_surroundings(RunHistory& run) {
  run.planned_steps = run.config.train().has_steps() ? run.config.train().steps() : 0;
  read_log(run.folder + "/logs/rank_00000.log", run);
  read_lock(run.folder + "/LOCK", run);
}

}  // namespace dagpam::launch

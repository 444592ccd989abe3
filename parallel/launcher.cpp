#include "parallel/launcher.h"

#include <charconv>
#include <cstring>
#include <functional>
#include <optional>

namespace dagpam::parallel {
namespace {

using Environment = std::function<const char*(const char*)>;

std::optional<int> read(const Environment& get, const char* variable, int least) {
  const char* text = get(variable);
  if (text == nullptr) {
    return std::nullopt;
  }
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < least) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<LauncherClaim> launcher_claim(const Environment& get) {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    if (const auto processes = read(get, variable, 1)) {
      return LauncherClaim{variable, *processes};
    }
  }
  if (get("SLURM_STEP_ID") == nullptr) {
    return std::nullopt;
  }
  const auto processes = read(get, "SLURM_NTASKS", 1);
  return processes ? std::optional(LauncherClaim{"SLURM_NTASKS", *processes}) : std::nullopt;
}

int launched_rank(const Environment& get) {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMI_RANK"}) {
    if (const auto rank = read(get, variable, 0)) {
      return *rank;
    }
  }
  return get("SLURM_STEP_ID") != nullptr ? read(get, "SLURM_PROCID", 0).value_or(0) : 0;
}

}  // namespace dagpam::parallel

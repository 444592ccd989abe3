#include "parallel/launcher.h"

#include <charconv>
#include <cstring>
#include <functional>
#include <optional>

namespace dagpam::parallel {
namespace {

std::optional<LauncherClaim> read(const std::function<const char*(const char*)>& get,
                                  const char* variable) {
  const char* text = get(variable);
  if (text == nullptr) {
    return std::nullopt;
  }
  LauncherClaim claim{variable, 0};
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, claim.processes);
  if (error != std::errc() || stop != end || claim.processes < 1) {
    return std::nullopt;
  }
  return claim;
}

}  // namespace

std::optional<LauncherClaim> launcher_claim(const std::function<const char*(const char*)>& get) {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    if (auto claim = read(get, variable)) {
      return claim;
    }
  }
  return get("SLURM_STEP_ID") != nullptr ? read(get, "SLURM_NTASKS") : std::nullopt;
}

}  // namespace dagpam::parallel

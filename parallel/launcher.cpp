#include "parallel/launcher.h"

#include <charconv>
#include <cstring>
#include <functional>
#include <optional>
#include <string>

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

std::string unconnected_launch(const Environment& get) {
  const auto claim = launcher_claim(get);
  if (!claim || claim->processes == 1 || !claim->variable.starts_with("SLURM_")) return "";
  for (const char* manager : {"PMIX_RANK", "PMI_RANK", "PMI_FD"}) {
    if (get(manager) != nullptr) return "";
  }
  return claim->variable + " says that srun started " + std::to_string(claim->processes) +
         " processes, but none can find the others, since srun brought no PMIx along: start with "
         "srun --mpi=pmix (srun --mpi=list shows what this Slurm has), or with mpirun inside the "
         "allocation";
}

std::string launch_mismatch(const std::optional<LauncherClaim>& claim, int mpi_size) {
  if (!claim || claim->processes == mpi_size) return "";
  return claim->variable + " says that " + std::to_string(claim->processes) +
         " processes were started, but MPI knows of " + std::to_string(mpi_size) +
         ": the launcher belongs to another MPI than this program, and each process would train "
         "alone; use the mpirun of Open MPI (or srun --mpi=pmix)";
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

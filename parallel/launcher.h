// parallel/launcher.h: what the environment says of the job that a launcher started.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace dagpam::parallel {

struct LauncherClaim {
  std::string variable;  // e.g. "OMPI_COMM_WORLD_SIZE"
  int processes = 1;
};

// How many processes the launcher says it started; nothing where no launcher did. The innermost
// launcher counts: OMPI_COMM_WORLD_SIZE (mpirun of Open MPI), else PMI_SIZE (mpiexec of MPICH and
// its kin), else SLURM_STEP_NUM_TASKS, else SLURM_NTASKS inside a step (srun). In a batch script
// outside srun SLURM_NTASKS is what was reserved, not what was started, and says nothing. `get` is
// std::getenv, or a test's.
std::optional<LauncherClaim> launcher_claim(const std::function<const char*(const char*)>& get);

// Why processes that srun started would never find each other: it gave them no process manager
// (--mpi=none, or a Slurm without the plugin), so MPI cannot open. "" where nothing speaks against
// it. Known before MPI is opened, which ends the process in words of its own.
std::string unconnected_launch(const std::function<const char*(const char*)>& get);

// "SLURM_NTASKS says that 4 processes were started, but MPI knows of 1: ..."; "" where the claim
// and MPI agree, or nobody claims anything.
std::string launch_mismatch(const std::optional<LauncherClaim>& claim, int mpi_size);

// This process's rank by the same launcher's word, for what happens before MPI is open; 0 without
// one.
int launched_rank(const std::function<const char*(const char*)>& get);

}  // namespace dagpam::parallel

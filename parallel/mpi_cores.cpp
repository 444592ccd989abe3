#include "parallel/mpi_cores.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <optional>

#include "parallel/mpi_errors.h"

namespace dagpam::parallel {
namespace {

CoreShare own_share(int threads) {
  CoreShare share;
  share.threads = threads;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);  // none known where it fails: none is free
  constexpr size_t kCores = std::min<size_t>(CPU_SETSIZE, 1024);
  for (size_t core = 0; core < kCores; ++core) share.cores[core] = CPU_ISSET(core, &cores);
  return share;
}

bool ask(int threads) {
  CommCall call{0, 1, "mpi world", "counting cores", 0};
  DAGPAM_MPI(call, MPI_Comm_rank(MPI_COMM_WORLD, &call.rank));
  DAGPAM_MPI(call, MPI_Comm_size(MPI_COMM_WORLD, &call.size));
  MPI_Comm node = MPI_COMM_NULL;
  DAGPAM_MPI(call, MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, call.rank,
                                       MPI_INFO_NULL, &node));
  int ranks = 1;
  DAGPAM_MPI(call, MPI_Comm_size(node, &ranks));
  const CoreShare mine = own_share(threads);
  std::vector<CoreShare> shares(static_cast<size_t>(ranks));
  constexpr int kBytes = sizeof(CoreShare);
  DAGPAM_MPI(call, MPI_Allgather(&mine, kBytes, MPI_BYTE, shares.data(), kBytes, MPI_BYTE, node));
  DAGPAM_MPI(call, MPI_Comm_free(&node));
  int free = leaves_cores_free(mine, shares) ? 1 : 0;
  DAGPAM_MPI(call, MPI_Allreduce(MPI_IN_PLACE, &free, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD));
  return free != 0;
}

}  // namespace

bool leaves_cores_free(const CoreShare& mine, const std::vector<CoreShare>& node) {
  auto cores = mine.cores;
  size_t threads = 0;
  for (const CoreShare& rank : node) {
    if ((rank.cores & mine.cores).none()) continue;
    cores |= rank.cores;
    threads += static_cast<size_t>(rank.threads);
  }
  return cores.count() > threads;
}

bool mpi_leaves_cores_free(int threads) {
  static std::optional<bool> answer;
  if (!answer) answer = ask(threads);
  return *answer;
}

}  // namespace dagpam::parallel

#include "launch/doctor/surroundings.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "configs/errors.h"
#include "launch/doctor/system_limits.h"
#include "launch/version.h"
#include "parallel/devices.h"
#include "parallel/session.h"
#include "parallel/versions.h"

namespace dagpam::launch {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Surroundings, rank, local_rank, local_size, host,
                                                build, versions, cores, threads, group, group_cores,
                                                memory, group_memory, group_memory_used,
                                                shared_memory, open_files, locked_memory, gpus,
                                                why_no_gpu, infiniband, environment)

namespace {

std::string host_of(const parallel::Session& session) {
  const char* const node = std::getenv("SLURMD_NODENAME");
  const std::string host = session.host();
  return node == nullptr || host == node ? host : host + " (" + node + ")";
}

std::map<std::string, std::string> shared_environment() {
  std::map<std::string, std::string> out;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view line(*at);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string name(line.substr(0, equals));
    if (shared_variable(name)) out[name] = line.substr(equals + 1);
  }
  return out;
}

}  // namespace

bool shared_variable(const std::string& name) {
  // Names end here, prefixes with an underscore. OMPI_MCA_orte_..., PMIX_... differ by nature.
  constexpr std::array kShared = {"OMP_NUM_THREADS",
                                  "OMP_PROC_BIND",
                                  "OMP_PLACES",
                                  "LD_PRELOAD",
                                  "NCCL_",
                                  "UCX_",
                                  "CUBLAS_",
                                  "CUDA_LAUNCH_BLOCKING",
                                  "CUDA_DEVICE_ORDER",
                                  "PYTORCH_",
                                  "TORCH_",
                                  "MKL_",
                                  "KMP_",
                                  "GOMP_",
                                  "ONEDNN_",
                                  "OMPI_MCA_btl",
                                  "OMPI_MCA_pml",
                                  "OMPI_MCA_mtl",
                                  "OMPI_MCA_coll",
                                  "OMPI_MCA_oob",
                                  "OMPI_MCA_osc"};
  for (const std::string_view shared : kShared) {
    const bool prefix = shared.ends_with('_') || shared.starts_with("OMPI_MCA_");
    if (prefix ? name.starts_with(shared) : name == shared) return true;
  }
  return false;
}

Surroundings look_around(const parallel::Session& session, const std::string& build) {
  Surroundings s;
  s.rank = session.rank();
  s.local_rank = session.local_rank();
  s.local_size = session.local_size();
  s.host = host_of(session);
  s.build = build;
  const parallel::LibraryVersions versions = parallel::library_versions();
  s.versions = {
      {"dagpam", kVersion},    {"LibTorch", versions.torch},    {"MPI", versions.mpi},
      {"NCCL", versions.nccl}, {"CUDA runtime", versions.cuda}, {"CUDA driver", versions.driver}};
  s.cores = own_cores();
  s.threads = at::get_num_threads();
  const GroupLimits limits = group_limits();
  s.group = limits.name;
  s.group_cores = limits.cores;
  s.group_memory = limits.memory;
  s.group_memory_used = limits.memory_used;
  s.memory = available_memory();
  s.shared_memory = free_shared_memory();
  s.open_files = open_files_limit();
  s.locked_memory = locked_memory_limit();
  const parallel::Devices& devices = parallel::visible_devices();
  s.gpus = devices.gpus;
  s.why_no_gpu = devices.why_none;
  s.infiniband = infiniband_devices();
  s.environment = shared_environment();
  return s;
}

std::string to_text(const Surroundings& surroundings) {
  return nlohmann::json(surroundings)
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Surroundings surroundings_from_text(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<Surroundings>();
  } catch (const nlohmann::json::exception&) {
    throw ConfigError(
        "doctor: a rank answers in words of another build: start the same build on "
        "every node");
  }
}

}  // namespace dagpam::launch

#include "parallel/backend.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "parallel/devices.h"
#include "parallel/mpi_communicator.h"
#include "parallel/nccl_communicator.h"
#include "parallel/shared_tensors.h"

namespace dagpam::parallel {
namespace {

constexpr int kSharingNccl = 23000;  // 2.30.0: several ranks may share a GPU
constexpr int kExitHang = 6;

std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::string count(size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

// Why not every rank has a GPU; "" where it has.
std::string obstacle(const std::vector<RankDevices>& ranks) {
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RankDevices& r = ranks[rank];
    if (r.gpus == 0) {
      return "rank " + std::to_string(rank) + " on " + r.host + " has no GPU (" + r.why_none + ")";
    }
    if (r.local_size <= r.gpus || (r.may_share_gpus && r.nccl >= kSharingNccl)) continue;
    return std::to_string(r.local_size) + " ranks on " + r.host + " share " +
           count(static_cast<size_t>(r.gpus), "GPU") + ", which NCCL " + version_text(r.nccl) +
           (r.nccl >= kSharingNccl ? " allows with NCCL_MULTI_RANK_GPU_ENABLE=1 alone"
                                   : " does not allow (2.30 does, with "
                                     "NCCL_MULTI_RANK_GPU_ENABLE=1)");
  }
  return "";
}

std::string to_text(const RankDevices& r) {
  std::ostringstream text;
  text << r.local_rank << ' ' << r.local_size << ' ' << r.gpus << ' ' << r.nccl << ' '
       << r.may_share_gpus << '\n'
       << r.host << '\n'
       << r.why_none << '\n';
  return text.str();
}

RankDevices from_text(const std::string& text) {
  std::istringstream in(text);
  RankDevices r;
  in >> r.local_rank >> r.local_size >> r.gpus >> r.nccl >> r.may_share_gpus;
  in.ignore(1);
  std::getline(in, r.host);
  std::getline(in, r.why_none);
  return r;
}

// Of a rank that does not notice that NCCL has failed: its peers wait.
void end_process(const std::string& failure) {
  std::fprintf(stderr, "dagpam: %s\n", failure.c_str());
  abort_mpi_job(kExitHang);
}

}  // namespace

RankDevices look_at_devices(const Session& session) {
  const Devices& seen = visible_devices();
  RankDevices r{session.host(), session.local_rank(), session.local_size(), seen.gpus,
                seen.why_none};
  r.nccl = seen.gpus > 0 ? nccl_library_version() : 0;
  const char* share = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  r.may_share_gpus = share != nullptr && std::strcmp(share, "1") == 0;
  return r;
}

BackendChoice choose_backend(Backend asked, const std::vector<RankDevices>& ranks) {
  if (asked == Backend::kMpi) return {false, {}, "parallel.backend MPI asks for it"};
  const std::string why_not = obstacle(ranks);
  if (!why_not.empty()) {
    if (asked == Backend::kAuto) return {false, {}, why_not};
    throw BackendUnavailable("parallel.backend: NCCL needs a GPU for every rank, but " + why_not +
                             ": start as many ranks a node as it has GPUs, or choose MPI");
  }
  BackendChoice choice{true, {}, ""};
  for (const RankDevices& r : ranks) choice.devices.push_back(r.local_rank % r.gpus);
  choice.why =
      asked == Backend::kNccl ? "parallel.backend NCCL asks for it" : "every rank has a GPU";
  return choice;
}

Backend parse_backend(const std::string& name) {
  if (name == "AUTO") return Backend::kAuto;
  if (name == "MPI") return Backend::kMpi;
  TORCH_CHECK(name == "NCCL", "no such back end: ", name);
  return Backend::kNccl;
}

SharedMemoryUse parse_shared_memory(const std::string& name) {
  if (name == "AUTO") return SharedMemoryUse::kAuto;
  if (name == "ON") return SharedMemoryUse::kOn;
  TORCH_CHECK(name == "OFF", "no such use of shared memory: ", name);
  return SharedMemoryUse::kOff;
}

World open_alone(Backend asked) {
  const Devices& seen = visible_devices();
  const RankDevices only{"this node", 0, 1, seen.gpus, seen.why_none};
  const BackendChoice choice = choose_backend(asked, {only});
  const at::Device device = choice.gpus ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  use_device(device);
  return {make_self_communicator(device),
          "one rank on a " + std::string(choice.gpus ? "GPU" : "CPU") + " (" + choice.why + ")"};
}

World open_world(Session& session, Backend asked, std::chrono::seconds timeout,
                 SharedMemoryUse shared_memory) {
  auto host = session.world(timeout, shared_memory);
  std::vector<RankDevices> ranks;
  for (const std::string& text : host->all_gather_bytes(to_text(look_at_devices(session)))) {
    ranks.push_back(from_text(text));
  }
  const BackendChoice choice = choose_backend(asked, ranks);
  const size_t size = ranks.size();
  if (!choice.gpus) {
    const std::string over = shares_memory(*host) ? "shared memory and MPI" : "MPI";
    return {std::move(host), (size == 1 ? "one rank" : over) + std::string(" on ") +
                                 (size == 1 ? "a CPU" : std::to_string(size) + " CPU processes") +
                                 " (" + choice.why + ")"};
  }
  const int index = choice.devices[static_cast<size_t>(session.rank())];
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  use_device(device);
  const std::string text =
      " on " + count(size, "GPU") + " (" + device_name(device) + "; " + choice.why + ")";
  if (size == 1) return {make_self_communicator(device), "one rank" + text};
  NcclOptions options;
  options.timeout = timeout;
  options.last_resort = end_process;
  const std::string nccl = "NCCL " + version_text(ranks.front().nccl) + " and MPI";
  return {make_nccl_world(std::move(host), make_nccl_library(index), device, options), nccl + text};
}

}  // namespace dagpam::parallel

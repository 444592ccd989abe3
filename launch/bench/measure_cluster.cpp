#include "launch/bench/measure_cluster.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "configs/cluster.h"
#include "configs/errors.h"
#include "configs/text.h"
#include "data/atomic_file.h"
#include "launch/bench/measure_rates.h"
#include "launch/version.h"
#include "parallel/shared_tensors.h"

namespace dagpam::launch {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kGib = 1024.0 * 1024.0 * 1024.0, kGb = 1e9;

void check(const MeasureOptions& options, const parallel::Communicator& world) {
  if (!world.device().is_cpu()) {
    throw ConfigError("--measure: measures ranks on CPUs: start it with --backend MPI");
  }
  std::error_code ignored;
  if (std::filesystem::exists(options.out, ignored)) {
    throw ConfigError("--measure " + options.out +
                      ": exists, and is not written over: name another file");
  }
  const auto folder = std::filesystem::path(options.out).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder, ignored)) {
    throw ConfigError("--measure " + options.out + ": no such folder: make it, or name another");
  }
  if (!std::filesystem::is_directory(options.folder, ignored)) {
    throw ConfigError("--disk " + options.folder + ": no such folder: name one on the disk");
  }
}

// Removes what it was written to measure with, whatever happens.
class ScratchFile {
 public:
  explicit ScratchFile(const std::string& folder)
      : path_(folder + "/.dagpam-measure-" + std::to_string(getpid())),
        fd_(open(path_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600)) {
    if (fd_ < 0) throw IoError(path_ + ": cannot be made: " + std::strerror(errno));
  }
  ~ScratchFile() {
    close(fd_);
    unlink(path_.c_str());
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  void write(const std::vector<char>& bytes) {
    data::write_fully(fd_, bytes.data(), bytes.size(), path_);
  }
  void sync() {
    if (fsync(fd_) != 0) throw IoError(path_ + ": fsync: " + std::strerror(errno));
  }

 private:
  std::string path_;
  int fd_;
};

// GB/s of plain writes of rank 0, made durable.
double disk_gbs(const std::string& folder) {
  constexpr int kPieces = 32;
  const std::vector<char> piece(4 << 20, 'x');
  ScratchFile file(folder);
  const auto start = Clock::now();
  for (int i = 0; i < kPieces; ++i) file.write(piece);
  file.sync();
  const std::chrono::duration<double> taken = Clock::now() - start;
  return static_cast<double>(kPieces) * static_cast<double>(piece.size()) / taken.count() / kGb;
}

double node_memory() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

// GB/s in nccl-tests' count of a call that takes a + b bytes, from two sizes.
struct Line {
  double call_us = 0, gbs = 0;
};
template <typename MakeCall>
Line measure_line(const RankTimer& timer, double share, const MakeCall& make) {
  constexpr int64_t kSmall = 1 << 10, kLarge = 1 << 20;  // float32 numbers
  const double small = timer.seconds_of_talk(make(kSmall), 200);
  const double large = timer.seconds_of_talk(make(kLarge), 20);
  const double slope = (large - small) / (4.0 * (kLarge - kSmall));
  return {1e6 * std::max(0.0, small - slope * 4 * kSmall), share / slope / kGb};
}

void measure_links(const RankTimer& timer, parallel::Communicator& world,
                   configs::LinkRates& link) {
  const int64_t ranks = world.size();
  const double once = static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  const Line any = measure_line(timer, 2 * once, [&](int64_t n) {
    return [t = at::zeros({n}), &world]() mutable { world.all_reduce(t); };
  });
  const Line bucket = measure_line(timer, 2 * once, [&](int64_t n) {
    return [t = parallel::zeros_to_sum(world, n, at::kFloat), &world]() mutable {
      world.all_reduce(t);
    };
  });
  const Line gather = measure_line(timer, once, [&](int64_t n) {
    return [out = at::zeros({n / ranks * ranks}), in = at::zeros({n / ranks}), &world]() mutable {
      world.all_gather(out, in);
    };
  });
  const Line scatter = measure_line(timer, once, [&](int64_t n) {
    return [in = at::zeros({n / ranks * ranks}), out = at::zeros({n / ranks}), &world]() mutable {
      world.reduce_scatter(out, in);
    };
  });
  link.set_bandwidth_gbs(2 / (1 / gather.gbs + 1 / scatter.gbs));
  link.set_all_reduce_gbs(any.gbs);
  link.set_bucket_gbs(bucket.gbs);
  link.set_call_us((any.call_us + bucket.call_us + gather.call_us + scatter.call_us) / 4);
  link.set_overlap_loss(1);  // the cores that compute carry the bytes
}

void write(const std::string& path, const configs::ClusterConfig& cluster, double products_worst) {
  std::string text = "# Measured by `dagpam plan --measure`, version " + std::string(kVersion) +
                     ". Products lay within " +
                     configs::shown(static_cast<int>(100 * products_worst + 1)) +
                     " % of their rates here.\n" + configs::print(cluster);
  configs::parse_cluster(text, path);  // what is written must be read
  data::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
  data::sync_folder_of(path);
}

}  // namespace

void measure_cluster(const MeasureOptions& options, parallel::Communicator& world) {
  check(options, world);
  const RankTimer timer(world, options.rounds);
  configs::ClusterConfig cluster;
  char host[256] = "cpu";
  gethostname(host, sizeof host - 1);
  cluster.set_name(std::string(host) + ", " + std::to_string(world.size()) + " ranks");
  cluster.set_origin(configs::ClusterConfig::MEASURED);
  cluster.set_gpus(false);
  cluster.set_nodes(1);
  cluster.set_ranks_per_node(world.size());
  cluster.set_memory_gib(node_memory() / kGib / world.size());
  cluster.set_reserve_gib(std::min(0.5, cluster.memory_gib() / 4));
  configs::DeviceRates& device = *cluster.mutable_device();
  const ProductFit products = measure_products(timer, *device.mutable_fp32());
  measure_loops(timer, device);
  measure_attention(timer, device);
  measure_steps(timer, cluster);
  if (world.size() > 1) measure_links(timer, world, *cluster.mutable_node_link());
  if (world.rank() != 0) return;
  cluster.mutable_storage()->set_write_gbs(disk_gbs(options.folder));
  cluster.mutable_storage()->set_host_copy_gbs(device.memory_gbs() / 2);
  write(options.out, cluster, products.worst);
  std::printf("%s\nwritten to %s\n", configs::print(cluster).c_str(), options.out.c_str());
}

}  // namespace dagpam::launch

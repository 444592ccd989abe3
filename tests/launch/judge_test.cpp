// What `dagpam doctor` makes of what ranks see, on made-up jobs; and what it reads of control
// groups.
#include "launch/doctor/judge.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/doctor/before_mpi.h"
#include "launch/doctor/report.h"
#include "launch/doctor/system_limits.h"

namespace dagpam::launch {
namespace {

constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

// A healthy job: nodes of 8 cores and 4 GPUs, 4 ranks each with 2 cores of their own.
std::vector<Surroundings> healthy_job(int nodes = 2) {
  std::vector<Surroundings> ranks;
  for (int node = 0; node < nodes; ++node) {
    for (int local = 0; local < 4; ++local) {
      Surroundings rank;
      rank.rank = 4 * node + local;
      rank.local_rank = local;
      rank.local_size = 4;
      rank.host = "n" + std::to_string(node);
      rank.build = "0123456789abcdef";
      rank.versions = {{"NCCL", "2.28.9"}, {"CUDA driver", "13.0"}};
      rank.cores = {2 * local, 2 * local + 1};
      rank.threads = 2;
      rank.memory = 256 * kGiB;
      rank.shared_memory = 8 * kGiB;
      rank.open_files = 65536;
      rank.gpus = 4;
      ranks.push_back(rank);
    }
  }
  return ranks;
}

std::string checks(const Findings& findings) {
  std::string names;
  for (const Finding& finding : findings) names += (names.empty() ? "" : " ") + finding.check;
  return names;
}

TEST(Judge, ABigHealthyJobHasNothingWrong) {
  EXPECT_EQ(checks(judge(healthy_job(500), {"NCCL", 2 * kGiB})), "");
}

TEST(Judge, NamesTheOddRanks) {
  auto ranks = healthy_job();
  ranks[5].build = ranks[7].build = "fedcba9876543210";
  ranks[6].versions["NCCL"] = "2.30.7";
  ranks[0].environment["NCCL_ALGO"] = "Ring";
  const Findings findings = judge(ranks, {});
  ASSERT_EQ(checks(findings), "build.differs versions.differ environment.differs");
  EXPECT_EQ(findings[0].what,
            "the ranks run other builds: digest 0123456789ab on ranks 0-4, 6, fedcba987654 on "
            "ranks 5, 7");
  EXPECT_EQ(findings[1].what, "NCCL is 2.28.9 on ranks 0-5, 7, 2.30.7 on rank 6");
  EXPECT_EQ(findings[2].what, "NCCL_ALGO is 'Ring' on rank 0, unset on ranks 1-7");
  EXPECT_EQ(exit_code_of(findings, false), ExitCode::kBadConfig);
}

TEST(Judge, ThreadsAgainstCoresAndTime) {
  auto ranks = healthy_job();
  ranks[1].cores = ranks[0].cores;  // bound to the same two
  Findings findings = judge_cores(ranks);
  ASSERT_EQ(checks(findings), "cores.shared");
  EXPECT_EQ(findings[0].what, "4 threads on 2 cores for ranks 0-1 on n0");
  EXPECT_EQ(exit_code_of(findings, false), ExitCode::kDone);
  EXPECT_EQ(exit_code_of(findings, true), ExitCode::kBadConfig);

  ranks = healthy_job();
  for (int local = 4; local < 8; ++local) {
    ranks[static_cast<size_t>(local)].group = "/job";
    ranks[static_cast<size_t>(local)].group_cores = 4;
  }
  findings = judge_cores(ranks);
  ASSERT_EQ(checks(findings), "cores.quota");
  EXPECT_EQ(findings[0].what,
            "8 threads on n1, but the control group '/job' grants the time of 4 cores");
}

TEST(Judge, GpusAgainstRanks) {
  auto ranks = healthy_job();
  for (size_t rank = 4; rank < 8; ++rank) ranks[rank].gpus = 8;
  EXPECT_EQ(checks(judge_gpus(ranks, {})), "gpus.idle");
  for (size_t rank = 4; rank < 8; ++rank) ranks[rank].gpus = 2;
  Findings findings = judge_gpus(ranks, {});
  ASSERT_EQ(checks(findings), "gpus.few");
  EXPECT_EQ(findings[0].what, "4 ranks on n1, but 2 GPUs; AUTO then takes CPUs everywhere");
  EXPECT_EQ(exit_code_of(findings, false), ExitCode::kDone);
  EXPECT_EQ(exit_code_of(judge_gpus(ranks, {"NCCL", 0}), false), ExitCode::kBadConfig);
  EXPECT_EQ(checks(judge_gpus(ranks, {"MPI", 0})), "");
  for (size_t rank = 4; rank < 8; ++rank) ranks[rank].gpus = 0;
  EXPECT_EQ(checks(judge_gpus(ranks, {})), "gpus.none");
  for (auto& rank : ranks) rank.gpus = 0;  // a job of CPUs
  EXPECT_EQ(checks(judge_gpus(ranks, {})), "");
}

TEST(Judge, MemoryAndLimits) {
  auto ranks = healthy_job(1);
  EXPECT_EQ(checks(judge_memory(ranks, {"AUTO", 100 * kGiB})), "memory.short");
  for (auto& rank : ranks) {
    rank.group_memory = 4 * kGiB;
    rank.group_memory_used = 3 * kGiB;
    rank.shared_memory = 64 * kMiB;
    rank.open_files = 200;
    rank.infiniband = 1;
    rank.locked_memory = 64 << 10;
  }
  const Findings findings = judge_memory(ranks, {});
  ASSERT_EQ(checks(findings), "memory.short");
  EXPECT_EQ(findings[0].what,
            "4 ranks on n0 need about 2.0 GiB of memory, 1.0 GiB are left to the control group");
  EXPECT_EQ(checks(judge_limits(ranks)), "limits.files limits.locked limits.shm");
  for (auto& rank : ranks) rank.locked_memory = -1;
  EXPECT_EQ(checks(judge_limits(ranks)), "limits.files limits.shm");
}

TEST(Judge, InterfacesAsNcclAndOpenMpiReadThem) {
  const std::vector<std::string> have{"lo", "eth0", "ib0"};
  const auto with = [&](const char* variable, const char* value) {
    return checks(judge_interfaces(
        [&](const char* name) { return std::string(name) == variable ? value : nullptr; }, have));
  };
  for (const char* good : {"", "eth", "=eth0", "^lo", "ens,ib", "eth0:1"}) {
    EXPECT_EQ(with("NCCL_SOCKET_IFNAME", good), "") << good;
  }
  EXPECT_EQ(with("NCCL_SOCKET_IFNAME", "=eth"), "network.interface");
  EXPECT_EQ(with("NCCL_SOCKET_IFNAME", "ens"), "network.interface");
  for (const char* good : {"eth0,lo", "10.0.0.0/8"}) {
    EXPECT_EQ(with("OMPI_MCA_btl_tcp_if_include", good), "") << good;
  }
  EXPECT_EQ(with("OMPI_MCA_btl_tcp_if_include", "eth0,eth1"), "network.interface");
}

TEST(Judge, AnotherBuildsFindingIsTakenAsFarAsItGoes) {
  const Finding finding{Level::kWarning, "a.b", "x", "y"};
  const Finding back = finding_from_json(to_json(finding));
  EXPECT_EQ(to_line(back), "warning a.b: x: y");
  EXPECT_EQ(finding_from_json(nlohmann::ordered_json{{"what", "z"}}).check, "unknown");
}

// Files of a control group below `root`.
class Groups : public testing::Test {
 protected:
  Groups() : root_(std::filesystem::path(testing::TempDir()) / "groups") {
    std::filesystem::remove_all(root_);
  }
  ~Groups() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::filesystem::path root_;
};

TEST_F(Groups, VersionTwoTheTightestOnTheWayUp) {
  write("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  write("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
  write("sys/fs/cgroup/slurm/job_7/memory.max", "4294967296\n");
  write("sys/fs/cgroup/slurm/job_7/memory.current", "1073741824\n");
  write("sys/fs/cgroup/slurm/job_7/cpu.max", "400000 100000\n");
  write("sys/fs/cgroup/slurm/cpu.max", "max 100000\n");
  const GroupLimits limits = group_limits(root_);
  EXPECT_EQ(limits.memory, 4 * kGiB);
  EXPECT_EQ(limits.memory_used, kGiB);
  EXPECT_EQ(limits.cores, 4);
  EXPECT_EQ(limits.name, "/slurm/job_7/step_0");
}

TEST_F(Groups, VersionOneAndNone) {
  EXPECT_EQ(group_limits(root_).memory, kNoLimit);
  write("proc/self/cgroup", "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n");
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n");
  write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  const GroupLimits limits = group_limits(root_);
  EXPECT_EQ(limits.memory, 2 * kGiB);
  EXPECT_EQ(limits.cores, 1.5);
  EXPECT_EQ(limits.name, "/a");
  write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(group_limits(root_).cores, kNoLimit);
}

}  // namespace
}  // namespace dagpam::launch

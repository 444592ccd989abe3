// Which back end a job gets, from what its ranks see.
#include "parallel/backend.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dagpam::parallel {
namespace {

// `nodes` nodes of `ranks` ranks and `gpus` GPUs each.
std::vector<RankDevices> job(int nodes, int ranks, int gpus, int nccl = 22809, bool share = false) {
  std::vector<RankDevices> all;
  for (int node = 0; node < nodes; ++node) {
    for (int rank = 0; rank < ranks; ++rank) {
      all.push_back({"node" + std::to_string(node), rank, ranks, gpus, gpus > 0 ? "" : "no driver",
                     gpus > 0 ? nccl : 0, share});
    }
  }
  return all;
}

std::string refusal(Backend asked, const std::vector<RankDevices>& ranks) {
  try {
    choose_backend(asked, ranks);
  } catch (const BackendUnavailable& error) {
    return error.what();
  }
  return "not refused";
}

TEST(Backend, AutoTakesGpusWhereEveryRankHasOne) {
  const BackendChoice choice = choose_backend(Backend::kAuto, job(2, 4, 4));
  EXPECT_TRUE(choice.gpus);
  EXPECT_EQ(choice.devices, (std::vector<int>{0, 1, 2, 3, 0, 1, 2, 3}));
  EXPECT_EQ(choice.why, "every rank has a GPU");
  EXPECT_TRUE(choose_backend(Backend::kAuto, job(1, 1, 8)).gpus);
}

TEST(Backend, AutoSaysWhyItTakesMpi) {
  auto ranks = job(2, 2, 2);
  ranks[3].gpus = 0;
  ranks[3].why_none = "no driver";
  const BackendChoice choice = choose_backend(Backend::kAuto, ranks);
  EXPECT_FALSE(choice.gpus);
  EXPECT_EQ(choice.why, "rank 3 on node1 has no GPU (no driver)");
  EXPECT_EQ(choose_backend(Backend::kAuto, job(1, 4, 2)).why,
            "4 ranks on node0 share 2 GPUs, which NCCL 2.28.9 does not allow (2.30 does, with "
            "NCCL_MULTI_RANK_GPU_ENABLE=1)");
}

TEST(Backend, MpiTakesNoGpu) {
  const BackendChoice choice = choose_backend(Backend::kMpi, job(1, 2, 2));
  EXPECT_FALSE(choice.gpus);
  EXPECT_EQ(choice.why, "parallel.backend MPI asks for it");
}

TEST(Backend, NcclIsRefusedWhereARankHasNoGpu) {
  EXPECT_EQ(choose_backend(Backend::kNccl, job(1, 2, 2)).why, "parallel.backend NCCL asks for it");
  EXPECT_EQ(refusal(Backend::kNccl, job(1, 2, 0)),
            "parallel.backend: NCCL needs a GPU for every rank, but rank 0 on node0 has no GPU (no "
            "driver): start as many ranks a node as it has GPUs, or choose MPI");
}

TEST(Backend, RanksShareAGpuOnlyWhereNcclCan) {
  EXPECT_NE(refusal(Backend::kNccl, job(1, 2, 1))
                .find("2 ranks on node0 share 1 GPU, which NCCL "
                      "2.28.9 does not allow"),
            std::string::npos);
  EXPECT_NE(refusal(Backend::kNccl, job(1, 2, 1, 22809, true)), "not refused");
  EXPECT_NE(refusal(Backend::kNccl, job(1, 2, 1, 23007))
                .find("NCCL 2.30.7 allows with NCCL_MULTI_RANK_GPU_ENABLE=1 alone"),
            std::string::npos);
  EXPECT_EQ(choose_backend(Backend::kNccl, job(1, 4, 2, 23007, true)).devices,
            (std::vector<int>{0, 1, 0, 1}));
}

}  // namespace
}  // namespace dagpam::parallel

#include "parallel/launcher.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace dagpam::parallel {
namespace {

using Variables = std::map<std::string, std::string>;

std::function<const char*(const char*)> lookup(const Variables& variables) {
  return [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

std::optional<LauncherClaim> claim_of(const Variables& variables) {
  return launcher_claim(lookup(variables));
}

int rank_of(const Variables& variables) { return launched_rank(lookup(variables)); }

TEST(LauncherClaim, NobodyClaimsAPlainStart) {
  EXPECT_FALSE(claim_of({}));
  // A batch script of Slurm outside srun: reserved, not started.
  EXPECT_FALSE(claim_of({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}));
}

TEST(LauncherClaim, TheInnermostLauncherCounts) {
  const auto mpirun_in_slurm = claim_of({{"OMPI_COMM_WORLD_SIZE", "16"},
                                         {"SLURM_STEP_ID", "0"},
                                         {"SLURM_STEP_NUM_TASKS", "2"},
                                         {"SLURM_NTASKS", "2"}});
  ASSERT_TRUE(mpirun_in_slurm);
  EXPECT_EQ(mpirun_in_slurm->variable, "OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(mpirun_in_slurm->processes, 16);
  EXPECT_EQ(claim_of({{"PMI_SIZE", "4"}})->processes, 4);
  EXPECT_EQ(claim_of({{"SLURM_STEP_NUM_TASKS", "3"}, {"SLURM_NTASKS", "8"}})->processes, 3);
  EXPECT_EQ(claim_of({{"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "8"}})->processes, 8);
}

TEST(LaunchedRank, TheInnermostLauncherCounts) {
  EXPECT_EQ(rank_of({}), 0);
  EXPECT_EQ(rank_of({{"SLURM_PROCID", "5"}}), 0);  // a batch script
  EXPECT_EQ(rank_of({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "5"}}), 5);
  EXPECT_EQ(rank_of({{"PMI_RANK", "3"}, {"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "5"}}), 3);
  EXPECT_EQ(rank_of({{"OMPI_COMM_WORLD_RANK", "0"}, {"PMI_RANK", "3"}}), 0);
  EXPECT_EQ(rank_of({{"OMPI_COMM_WORLD_RANK", "one"}}), 0);
}

TEST(UnconnectedLaunch, SrunWithoutAManagerOfProcesses) {
  const auto why = [](const Variables& variables) { return unconnected_launch(lookup(variables)); };
  const Variables srun{{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}};
  EXPECT_NE(why(srun).find("SLURM_STEP_NUM_TASKS says that srun started 4 processes"),
            std::string::npos);
  for (const char* manager : {"PMIX_RANK", "PMI_RANK", "PMI_FD"}) {
    Variables managed = srun;
    managed[manager] = "0";
    EXPECT_EQ(why(managed), "") << manager;
  }
  EXPECT_EQ(why({{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "4"}}),
            "");  // a shell of salloc
  Variables mpirun = srun;
  mpirun["OMPI_COMM_WORLD_SIZE"] = "4";
  EXPECT_EQ(why(mpirun), "");
  EXPECT_EQ(why({}), "");
}

TEST(LaunchMismatch, TheClaimAgainstMpi) {
  EXPECT_EQ(launch_mismatch(std::nullopt, 1), "");
  EXPECT_EQ(launch_mismatch(LauncherClaim{"PMI_SIZE", 4}, 4), "");
  EXPECT_TRUE(
      launch_mismatch(LauncherClaim{"PMI_SIZE", 4}, 1)
          .starts_with("PMI_SIZE says that 4 processes were started, but MPI knows of 1: "));
}

TEST(LauncherClaim, WhatIsNoNumberSaysNothing) {
  for (const char* text : {"", "two", "2(x4)", "-1", "0", "99999999999999999999"}) {
    EXPECT_FALSE(claim_of({{"OMPI_COMM_WORLD_SIZE", text}})) << text;
  }
}

}  // namespace
}  // namespace dagpam::parallel

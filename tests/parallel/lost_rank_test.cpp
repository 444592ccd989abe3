// What a job does whose ranks are lost. The program starts itself under mpirun with the name of a
// scene; as a rank it plays the scene, else it looks at exit code and output.
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <mpi.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include "parallel/comm_error.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_work.h"
#include "parallel/session.h"

namespace dagpam::parallel {
namespace {

// What the progress thread does with an operation that fails, and then what its owner sees.
void fail_beside(int rank, Communicator& world) {
  float numbers[4] = {};
  if (rank == 0) {
    MPI_Send(numbers, 4, MPI_FLOAT, 1, 0, MPI_COMM_WORLD);
  } else if (rank == 1) {
    const auto work =
        std::make_shared<MpiWork>(CommCall{rank, 2, "a test", "recv of 2 elements of 4", 0},
                                  std::chrono::seconds(60), std::vector<at::Tensor>{});
    MPI_Irecv(numbers, 2, MPI_FLOAT, 0, 0, MPI_COMM_WORLD, static_cast<MPI_Request*>(work->add()));
    while (!work->test_beside()) std::this_thread::yield();
    std::fprintf(stderr, "left the thread\n");
    work->wait();
  }
  world.barrier();
}

// A world that asks for more shared memory than there is.
void ask_for_too_much(SharedMemoryUse use) {
  const auto world = make_mpi_world(
      {.timeout = std::chrono::seconds(60), .shared_memory = use, .piece_bytes = int64_t{1} << 50});
  at::Tensor t = at::full({4}, 1.0f);
  world->all_reduce(t);
  world->split(0, 0)->all_reduce(t);  // the second group of the process
  if (world->rank() == 0) std::printf("the sum is %g\n", t[3].item<double>());
  std::fflush(stdout);
}

// `scene`, or "scene/mpi": without shared memory.
void play(std::string scene, Session& session) {
  const size_t slash = scene.find('/');
  const auto use = slash == std::string::npos ? SharedMemoryUse::kOn : SharedMemoryUse::kOff;
  scene = scene.substr(0, slash);
  const auto world =
      session.world(std::chrono::seconds(scene.starts_with("stopped") ? 1 : 60), use);
  world->barrier();
  at::Tensor t = at::full({4}, 1.0f);
  if (scene == "alone") {
    world->all_reduce(t);
    std::printf("%d rank(s) on one host\n", session.size());
  } else if (scene == "stopped") {
    if (session.rank() == 1) {
      std::raise(SIGSTOP);
    }
    world->all_reduce(t);
  } else if (scene == "stopped_midway") {
    at::Tensor many = at::full({int64_t{1} << 26}, 1.0f);
    const WorkPtr work = world->all_reduce_async(many);
    if (session.rank() == 1) std::raise(SIGSTOP);
    work->wait();
  } else if (scene == "no_room") {
    ask_for_too_much(SharedMemoryUse::kAuto);
  } else if (scene == "must_have_room") {
    ask_for_too_much(SharedMemoryUse::kOn);
  } else if (scene == "different") {
    at::Tensor other = at::full({session.rank() == 0 ? 4 : 5}, 1.0f);
    world->all_reduce(other);
  } else if (scene == "killed") {
    if (session.rank() == 1) {
      std::raise(SIGKILL);
    }
    world->all_reduce(t);
  } else if (scene == "truncated") {
    at::Tensor small = at::full({2}, 1.0f);
    session.rank() == 0 ? world->send(t, 1) : world->recv(small, 0);
    world->barrier();
  } else if (scene == "beside") {
    fail_beside(session.rank(), *world);
  } else if (scene == "leaving" && session.rank() == 0) {
    const WorkPtr work = world->all_reduce_async(t);
    work->keep_moving();
    throw std::runtime_error("an error of rank 0 while the thread runs");
  } else if (scene == "unwinding" && session.rank() == 0) {
    throw std::runtime_error("an error of rank 0");
  } else if (scene == "thread" && session.rank() == 0) {
    std::thread([&] { session.abort(7); }).join();
  }
  world->barrier();
}

// main() of a rank.
int rank_main(const std::string& scene) {
  try {
    Session session;
    try {
      play(scene, session);
    } catch (const CommError& error) {
      std::fprintf(stderr, "caught: %s\n", error.what());
      session.abort(6);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "left the session: %s\n", error.what());
    return 5;
  }
}

struct Outcome {
  int code = -1;
  std::string output;
};

Outcome run(const std::string& before, const std::string& scene) {
  const std::string self = std::string(DAGPAM_SELF);
  const std::string command = "exec timeout 60 " + before + " " + self + " " + scene + " 2>&1";
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    return outcome;
  }
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof(buffer), pipe)) {
    outcome.output.append(buffer, n);
  }
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

Outcome run_two(const std::string& scene) {
  return run(DAGPAM_MPIEXEC " --oversubscribe -n 2", scene);
}

void expect_text(const Outcome& outcome, const std::string& part) {
  EXPECT_NE(outcome.output.find(part), std::string::npos) << "lacks '" << part << "':\n"
                                                          << outcome.output;
}

constexpr int kTimedOut = 124;  // the exit code of timeout(1)

TEST(LostRank, AStoppedRankIsNoticedAndTheJobEndsWithTheCode) {
  for (const char* scene : {"stopped", "stopped/mpi"}) {
    const Outcome outcome = run_two(scene);
    EXPECT_EQ(outcome.code, 6) << outcome.output;
    expect_text(outcome,
                "caught: rank 0 of 'mpi world' (2 ranks), call 1, all_reduce sum Float [4]");
    expect_text(outcome, "not complete after the timeout of 1 s");
  }
}

TEST(LostRank, OneThatIsStoppedInACallOfManyPiecesIsNamed) {
  const Outcome outcome = run_two("stopped_midway");
  EXPECT_EQ(outcome.code, 6) << outcome.output;
  expect_text(outcome, "call 1, all_reduce sum Float [67108864]: shared memory of the node: not ");
  expect_text(outcome, "; rank 1 is behind");
}

TEST(LostRank, AKilledRankEndsTheJob) {
  for (const char* scene : {"killed", "killed/mpi"}) {
    const Outcome outcome = run_two(scene);
    EXPECT_NE(outcome.code, 0);
    EXPECT_NE(outcome.code, kTimedOut) << outcome.output;
  }
}

TEST(LostRank, ARankThatMakesAnotherCallIsNamedThroughSharedMemory) {
  const Outcome outcome = run_two("different");
  EXPECT_EQ(outcome.code, 6) << outcome.output;
  expect_text(outcome, "(2 ranks), call 1, all_reduce sum Float [");
  expect_text(outcome, " makes another call, or this one of another type or size");
}

TEST(LostRank, WithoutRoomForSharedMemoryOneLineSaysSoAndTheJobGoesOn) {
  const Outcome outcome = run_two("no_room");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  expect_text(outcome, "the sum is 4");
  const std::string line = "dagpam: no shared memory for 'mpi world' (rank 0: no room for ";
  expect_text(outcome, line);
  EXPECT_EQ(outcome.output.find("dagpam:"), outcome.output.rfind("dagpam:")) << outcome.output;
}

TEST(LostRank, WithoutRoomForSharedMemoryThatIsAskedForTheJobEnds) {
  const Outcome outcome = run_two("must_have_room");
  EXPECT_EQ(outcome.code, 6) << outcome.output;
  expect_text(outcome,
              "caught: rank 0 of 'mpi world' (2 ranks), call 0, a new group: shared memory "
              "of the node: rank 0: no room for ");
}

TEST(LostRank, AnErrorOfTheLibraryIsAnException) {
  const Outcome outcome = run_two("truncated");
  EXPECT_EQ(outcome.code, 6) << outcome.output;
  expect_text(outcome,
              "caught: rank 1 of 'mpi world' (2 ranks), call 1, recv from rank 0 Float [2]");
  expect_text(outcome, "MPI_ERR_TRUNCATE");
}

TEST(LostRank, AnErrorBesideTheRankIsAnExceptionOfItsWait) {
  const Outcome outcome = run_two("beside");
  EXPECT_EQ(outcome.code, 6) << outcome.output;
  expect_text(outcome, "left the thread");
  expect_text(outcome, "caught: rank 1 of 'a test' (2 ranks), call 0, recv of 2 elements of 4");
  expect_text(outcome, "MPI_ERR_TRUNCATE");
}

TEST(LostRank, AnExceptionThatLeavesARunningThreadEndsTheJob) {
  const Outcome outcome = run_two("leaving");
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.code, kTimedOut) << outcome.output;
  expect_text(outcome, "left the session: an error of rank 0 while the thread runs");
}

TEST(LostRank, AnExceptionThatLeavesTheSessionEndsTheOthers) {
  const Outcome outcome = run_two("unwinding");
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.code, kTimedOut) << outcome.output;
  expect_text(outcome, "left the session: an error of rank 0");
}

TEST(LostRank, AnyThreadMayEndTheJob) {
  const Outcome outcome = run_two("thread");
  EXPECT_EQ(outcome.code, 7) << outcome.output;
}

TEST(LostRank, AProcessWithoutMpirunIsOneRank) {
  const Outcome outcome = run("env PATH=/nowhere", "alone");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  expect_text(outcome, "1 rank(s)");
}

TEST(LostRank, ALauncherOfAnotherMpiIsNoticed) {
  const Outcome outcome = run("env PMI_SIZE=2", "alone");
  EXPECT_EQ(outcome.code, 5) << outcome.output;
  expect_text(outcome, "PMI_SIZE says that 2 processes were started, but MPI knows of 1");
}

}  // namespace
}  // namespace dagpam::parallel

int main(int argc, char** argv) {
  if (argc == 2 && argv[1][0] != '-') {
    return dagpam::parallel::rank_main(argv[1]);
  }
  testing::InitGoogleTest(&argc, argv);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  return RUN_ALL_TESTS();
}

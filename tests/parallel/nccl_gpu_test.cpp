// NCCL itself, a GPU a rank: run under mpirun. Without the GPUs it says so and is skipped.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <exception>

#include "parallel/backend.h"
#include "parallel/session.h"
#include "tests/parallel/collective_cases.h"

namespace dagpam::parallel {
namespace {

Session* session = nullptr;
constexpr std::chrono::seconds kTimeout{60};

TEST(NcclGpu, EveryCase) {
  const World world = open_world(*session, Backend::kNccl, kTimeout);
  cases::on_device(world.communicator->device());
  cases::all(*world.communicator);
  cases::on_device(at::kCPU);
  cases::all(*world.communicator);  // those of the host, through the same communicator
}

}  // namespace
}  // namespace dagpam::parallel

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  using namespace dagpam::parallel;
  Session own;
  session = &own;
  try {
    open_world(own, Backend::kNccl, kTimeout);
  } catch (const BackendUnavailable& error) {
    if (own.rank() == 0) std::printf("SKIPPED WHOLE: %s\n", error.what());
    return 0;
  }
  try {
    return RUN_ALL_TESTS();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", own.rank(), error.what());
    own.abort(6);
  }
}

// Ranks as processes: run under mpirun at any size, every rank runs every test.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "parallel/consistency.h"
#include "parallel/mpi_communicator.h"
#include "parallel/session.h"
#include "tests/parallel/collective_cases.h"
#include "tests/parallel/gradient_cases.h"
#include "tests/parallel/tp_cases.h"

namespace dagpam::parallel {
namespace {

Session* session = nullptr;  // open while the tests run

TEST(Mpi, SessionKnowsItsPlace) {
  if (const char* started = std::getenv("OMPI_COMM_WORLD_SIZE")) {
    EXPECT_EQ(session->size(), std::atoi(started));
    EXPECT_EQ(session->rank(), std::atoi(std::getenv("OMPI_COMM_WORLD_RANK")));
    EXPECT_EQ(session->local_rank(), std::atoi(std::getenv("OMPI_COMM_WORLD_LOCAL_RANK")));
    EXPECT_EQ(session->local_size(), std::atoi(std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE")));
  } else {
    EXPECT_EQ(session->size(), 1);
  }
  EXPECT_FALSE(session->host().empty());
}

TEST(Mpi, EveryCase) {
  const auto world = session->world();
  EXPECT_EQ(world->size(), session->size());
  EXPECT_EQ(world->rank(), session->rank());
  cases::all(*world);
}

// Tensors past the reach of MPI's counts are carried in pieces; here the reach is 64 elements.
TEST(Mpi, EveryCaseInPieces) {
  const auto world = make_mpi_world({.timeout = std::chrono::seconds(60), .max_count = 64});
  cases::all(*world);
}

TEST(Mpi, Gradients) {
  const auto world = session->world();
  cases::all_gradient_cases(*world);
}

TEST(Mpi, TensorParallel) {
  const auto world = session->world();
  cases::all_tp_cases(*world);
}

TEST(Mpi, LargeTensors) {
  const auto world = session->world();
  const int64_t size = world->size(), n = int64_t{3} << 20;
  at::Tensor t = at::full({n}, static_cast<double>(world->rank() + 1), at::kFloat);
  world->all_reduce(t);
  EXPECT_TRUE(t.equal(at::full({n}, static_cast<double>(size * (size + 1) / 2), at::kFloat)));
  world->broadcast(t, world->size() - 1);
}

// Numbers whose sum depends on the order: the same bits on all ranks, and again the next time.
TEST(Mpi, SumsAreTheSameBitsEverywhereAndAgain) {
  const auto world = session->world();
  for (const int64_t n : {1, 1000, 100000}) {
    const at::Tensor mine =
        at::arange(n, at::kFloat).mul(0.37).add(world->rank()).sin().mul(1e3).contiguous();
    at::Tensor first = mine.clone(), second = mine.clone();
    world->all_reduce(first);
    world->all_reduce(second);
    EXPECT_TRUE(first.equal(second));
    const std::string bits(static_cast<const char*>(first.const_data_ptr()), first.nbytes());
    const std::string digest = std::to_string(std::hash<std::string>()(bits));
    EXPECT_NO_THROW(require_same_on_all_ranks(*world, "the sum", digest, "")) << n;
  }
}

}  // namespace
}  // namespace dagpam::parallel

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  dagpam::parallel::Session session;
  try {
    dagpam::parallel::session = &session;
    if (session.rank() != 0) {  // failures of the others still show: gtest prints them itself
      auto& listeners = testing::UnitTest::GetInstance()->listeners();
      delete listeners.Release(listeners.default_result_printer());
    }
    const int result = RUN_ALL_TESTS();
    if (result != 0 && session.rank() != 0) {
      std::fprintf(stderr,
                   "rank %d has failed tests; run it with -n 1 or with output of all ranks\n",
                   session.rank());
    }
    return result;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(6);
  }
}

// Ranks as processes: run under mpirun at any size, every rank runs every test.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bitset>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "parallel/consistency.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_cores.h"
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

// The rank itself makes no call of MPI until the sum is there.
TEST(Mpi, SumsMoveBesideTheRank) {
  const auto world = session->world();
  if (world->size() == 1) GTEST_SKIP() << "one rank: nothing moves";
  const int64_t size = world->size(), n = int64_t{1} << 18;
  at::Tensor t = at::full({n}, static_cast<double>(world->rank() + 1), at::kFloat);
  const WorkPtr work = world->all_reduce_async(t);
  work->keep_moving();
  const auto sum = static_cast<float>(size * (size + 1) / 2);
  const std::atomic_ref<float> last(t.data_ptr<float>()[n - 1]);
  const auto start = std::chrono::steady_clock::now();
  while (last != sum && std::chrono::steady_clock::now() - start < std::chrono::seconds(30)) {
    std::this_thread::yield();
  }
  EXPECT_EQ(last.load(), sum) << "after 30 s";
  work->wait();
  EXPECT_TRUE(t.equal(at::full({n}, sum, at::kFloat)));
}

// As many at once as buckets may be, half of them moved by the thread, waited for in another order.
TEST(Mpi, SumsBesideAndByTheRankTogether) {
  const auto world = session->world();
  const int64_t size = world->size();
  std::vector<at::Tensor> sums;
  std::vector<WorkPtr> works;
  for (int64_t i = 0; i < 20; ++i) {
    sums.push_back(at::full({1 + i * 3000}, static_cast<double>(world->rank() + i), at::kFloat));
    works.push_back(world->all_reduce_async(sums.back()));
    if (i % 2 == 0) works.back()->keep_moving();
    works[static_cast<size_t>(i) / 2]->make_progress();
  }
  for (size_t i = works.size(); i-- > 0;) {
    works[i]->wait();
    const auto ranks = static_cast<double>(size);
    const double sum = ranks * (ranks - 1) / 2 + ranks * static_cast<double>(i);
    EXPECT_TRUE(sums[i].equal(at::full_like(sums[i], sum))) << i;
  }
}

TEST(Cores, AreFreeWhereRanksThatShareThemHaveFewerThreads) {
  const auto share = [](uint64_t cores, int threads) {
    return CoreShare{std::bitset<1024>(cores), threads};
  };
  const CoreShare both = share(0b11, 1);
  EXPECT_TRUE(leaves_cores_free(both, {both}));
  EXPECT_FALSE(leaves_cores_free(both, {both, both}));
  EXPECT_FALSE(leaves_cores_free(share(0b11, 2), {share(0b11, 2)}));
  // Bound to cores of their own, or to overlapping ones.
  const CoreShare low = share(0b0011, 1), high = share(0b1100, 2), middle = share(0b0110, 1);
  EXPECT_TRUE(leaves_cores_free(low, {low, high}));
  EXPECT_FALSE(leaves_cores_free(high, {low, high}));
  EXPECT_TRUE(leaves_cores_free(low, {low, middle}));
  EXPECT_FALSE(leaves_cores_free(share(0, 1), {share(0, 1)}));
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

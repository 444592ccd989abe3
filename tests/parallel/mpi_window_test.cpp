// Ranks as processes that share memory: run under mpirun at any size, every rank runs every test.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "parallel/mpi_communicator.h"
#include "parallel/session.h"
#include "parallel/shared_tensors.h"
#include "tests/parallel/collective_cases.h"
#include "tests/parallel/gradient_cases.h"
#include "tests/parallel/tp_cases.h"

namespace dagpam::parallel {
namespace {

constexpr std::chrono::seconds kTimeout{60};

Session* session = nullptr;  // open while the tests run

// Every call through shared memory, in pieces of so many bytes.
std::unique_ptr<Communicator> shared_world(int64_t piece_bytes = kSharedPieceBytes) {
  auto world = make_mpi_world(
      {.timeout = kTimeout, .shared_memory = SharedMemoryUse::kOn, .piece_bytes = piece_bytes});
  EXPECT_EQ(shares_memory(*world), world->size() > 1);
  return world;
}

std::unique_ptr<Communicator> mpi_world() {
  return make_mpi_world({.timeout = kTimeout, .shared_memory = SharedMemoryUse::kOff});
}

TEST(MpiWindow, EveryCase) { cases::all(*shared_world()); }

TEST(MpiWindow, EveryCaseInPieces) { cases::all(*shared_world(1024)); }

TEST(MpiWindow, EveryCaseWithoutIt) {
  const auto world = mpi_world();
  EXPECT_FALSE(shares_memory(*world));
  cases::all(*world);
}

TEST(MpiWindow, Gradients) { cases::all_gradient_cases(*shared_world()); }

TEST(MpiWindow, TensorParallel) { cases::all_tp_cases(*shared_world()); }

TEST(MpiWindow, BothGiveTheSameSumsOfTwo) {
  const auto shared = shared_world(), plain = mpi_world();
  if (shared->size() != 2) GTEST_SKIP() << "the sum of two has one order alone";
  for (const int64_t n : {1, 1000, 100003, 3000001}) {
    const at::Tensor mine = at::arange(n, at::kFloat).mul(0.37).add(shared->rank()).sin().mul(1e3);
    at::Tensor one = mine.clone(), other = mine.clone();
    shared->all_reduce(one);
    plain->all_reduce(other);
    EXPECT_TRUE(one.equal(other)) << n;
  }
}

// The order of ranks, as ranks that are threads have it; also for views that begin anywhere.
TEST(MpiWindow, SumsHaveTheBitsOfTheRanksOrder) {
  const auto world = shared_world();
  const auto brought = [](int64_t n, int r) {
    return at::arange(n, at::kFloat).mul(0.37).add(r).sin().mul(r % 2 == 0 ? 1e4 : -1e4);
  };
  for (const int64_t n : {1, 1000, 100003, 3000001}) {
    at::Tensor expected = brought(n, 0);
    for (int r = 1; r < world->size(); ++r) expected.add_(brought(n, r));
    at::Tensor room = at::empty({n + 3}, at::kFloat);
    at::Tensor view = room.narrow(0, 3, n);
    view.copy_(brought(n, world->rank()));
    world->all_reduce(view);
    EXPECT_TRUE(view.equal(expected)) << n << " on rank " << world->rank();
  }
}

// Tensors made to be summed are summed in place; others of the same size are not, and both at once
// are no mistake.
TEST(MpiWindow, TensorsMadeToBeSummed) {
  const auto world = shared_world();
  const int64_t n = 1000003, size = world->size();
  const auto sum = static_cast<double>(size * (size + 1) / 2);
  const at::Tensor first = zeros_to_sum(*world, 5, at::kFloat);
  const at::Tensor made = zeros_to_sum(*world, n, at::kDouble);
  EXPECT_TRUE(made.equal(at::zeros({n}, at::kDouble)));
  for (const bool all : {true, false}) {
    at::Tensor t =
        all || world->rank() == 0 ? made.narrow(0, 2, n - 3) : at::empty({n - 3}, at::kDouble);
    for (int repeat = 0; repeat < 3; ++repeat) {
      t.fill_(world->rank() + 1);
      world->all_reduce(t);
      EXPECT_TRUE(t.equal(at::full_like(t, sum))) << all << " on rank " << world->rank();
    }
    EXPECT_EQ(made[1].item<double>(), 0);
    EXPECT_EQ(made[n - 1].item<double>(), 0);
  }
  EXPECT_TRUE(first.equal(at::zeros({5}, at::kFloat)));
  EXPECT_EQ(zeros_to_sum(*world, 0, at::kFloat).numel(), 0);
  EXPECT_TRUE(zeros_to_sum(*mpi_world(), 5, at::kFloat).equal(first));
}

TEST(MpiWindow, CarriesBfloat16) {
  const auto world = shared_world();
  for (const int64_t n : {3, 70001}) {
    at::Tensor out = at::empty({world->size() * n}, at::kBFloat16);
    world->all_gather(out, at::full({n}, static_cast<double>(world->rank() + 1), at::kBFloat16));
    for (int r = 0; r < world->size(); ++r) {
      EXPECT_TRUE(out.narrow(0, r * n, n).equal(at::full({n}, r + 1, at::kBFloat16))) << n;
    }
  }
}

// Neighbours wait for calls of three groups, one of them MPI's, in opposite orders: each call must
// move while its rank waits for another.
TEST(MpiWindow, CallsOfSeveralGroupsMoveInAnyWait) {
  const auto one = shared_world(), other = shared_world(), plain = mpi_world();
  const int64_t size = one->size(), n = int64_t{1} << 18;
  const double sum = static_cast<double>(size * (size + 1) / 2);
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<at::Tensor> sums;
    std::vector<WorkPtr> works;
    for (Communicator* group : {one.get(), plain.get(), other.get()}) {
      sums.push_back(at::full({n}, static_cast<double>(one->rank() + 1), at::kFloat));
      works.push_back(group->all_reduce_async(sums.back()));
    }
    for (size_t i = 0; i < works.size(); ++i) {
      works[one->rank() % 2 == 0 ? i : works.size() - 1 - i]->wait();
    }
    for (const at::Tensor& t : sums) EXPECT_TRUE(t.equal(at::full({n}, sum, at::kFloat)));
    one->barrier();  // MPI's, with calls of shared memory under way at a peer or not
  }
}

TEST(MpiWindow, TheThreadMovesThemBesideTheRank) {
  const auto world = shared_world();
  if (world->size() == 1) GTEST_SKIP() << "one rank: nothing moves";
  const int64_t size = world->size(), n = int64_t{1} << 20;
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

void expect_to_work_without(const Communicator* world, Communicator& group) {
  EXPECT_FALSE(shares_memory(*world));
  cases::all_reduce(group);
  cases::all_gather(group);
}

TEST(MpiWindow, WithoutRoomMpiDoes) {
  const auto world = make_mpi_world({.timeout = kTimeout, .piece_bytes = int64_t{1} << 50});
  expect_to_work_without(world.get(), *world);
}

// The last rank may not map anything more.
TEST(MpiWindow, WithoutRoomOnOneRankMpiDoesOnAll) {
  if (session->size() == 1) GTEST_SKIP() << "one rank shares nothing";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need address space of their own";
#endif
  constexpr int64_t kPiece = int64_t{64} << 20;
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  if (session->rank() == session->size() - 1) {
    long pages = 0;
    FILE* const file = std::fopen("/proc/self/statm", "r");
    ASSERT_NE(file, nullptr);
    ASSERT_EQ(std::fscanf(file, "%ld", &pages), 1);
    std::fclose(file);
    const rlimit tight{static_cast<rlim_t>(pages) * 4096 + (rlim_t{64} << 20), before.rlim_max};
    setrlimit(RLIMIT_AS, &tight);
  }
  const auto world = make_mpi_world({.timeout = kTimeout, .piece_bytes = kPiece});
  setrlimit(RLIMIT_AS, &before);
  expect_to_work_without(world.get(), *world);
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
      std::fprintf(stderr, "rank %d has failed tests\n", session.rank());
    }
    return result;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(6);
  }
}

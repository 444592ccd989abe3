// Tensors of more than 2^31 elements, past the reach of MPI's counts: by its tensors about 7 GiB a
// rank. Two ranks.
#include <ATen/core/Tensor.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <tuple>

#include "parallel/session.h"

namespace dagpam::parallel {
namespace {

constexpr int64_t kCount = (int64_t{1} << 31) + 6;

Session* session = nullptr;

at::Tensor filled(int64_t elements, int value) { return at::full({elements}, value, at::kByte); }

// All elements of [first, first + count) are `value`, and the last one is.
void expect_all(const at::Tensor& t, int64_t first, int64_t count, int value) {
  const auto [low, high] = at::aminmax(t.narrow(0, first, count));
  EXPECT_EQ(low.item<int>(), value);
  EXPECT_EQ(high.item<int>(), value);
}

TEST(LargeCounts, AreCarriedInPieces) {
  const auto world = session->world();
  if (world->size() != 2) GTEST_SKIP() << "for two ranks";
  const int rank = world->rank();
  {
    at::Tensor t = filled(kCount, rank + 1);
    world->all_reduce(t);
    expect_all(t, 0, kCount, 3);
    if (rank == 1) t.fill_(7);
    world->broadcast(t, 1);
    expect_all(t, 0, kCount, 7);
    if (rank == 0) {
      t.fill_(9);
      world->send(t, 1);
    } else {
      world->recv(t, 0);
    }
    expect_all(t, 0, kCount, 9);
  }
  at::Tensor whole = at::empty({kCount}, at::kByte), part = filled(kCount / 2, rank + 1);
  world->all_gather(whole, part);
  expect_all(whole, 0, kCount / 2, 1);
  expect_all(whole, kCount / 2, kCount / 2, 2);
  world->reduce_scatter(part, whole);
  expect_all(part, 0, kCount / 2, 2 * (rank + 1));
}

}  // namespace
}  // namespace dagpam::parallel

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  dagpam::parallel::Session session;
  try {
    dagpam::parallel::session = &session;
    return RUN_ALL_TESTS();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(6);
  }
}

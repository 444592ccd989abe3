#include "tests/parallel/collective_cases.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/consistency.h"

namespace dagpam::parallel::cases {
namespace {

constexpr std::array<int64_t, 4> kCounts = {0, 1, 7, 10000};
constexpr std::array kTypes = {at::kFloat, at::kDouble, at::kLong, at::kInt, at::kByte};

at::Device device = at::kCPU;

// n elements factor * (i % period + 1) + offset: exact in float32, and small enough for uint8 that
// no sum of up to 8 ranks overflows.
at::Tensor ramp(int64_t n, int64_t factor, at::ScalarType type, int64_t offset = 0) {
  const int64_t period = type == at::kByte ? 5 : 97;
  return at::arange(n, at::kLong)
      .remainder(period)
      .add(1)
      .mul(factor)
      .add(offset)
      .to(type)
      .to(device);
}

void expect_equal(const at::Tensor& actual, const at::Tensor& expected, const char* what,
                  Communicator& group) {
  EXPECT_TRUE(actual.equal(expected))
      << what << " " << actual.scalar_type() << " " << actual.sizes() << ", rank " << group.rank()
      << " of " << group.size();
}

}  // namespace

void on_device(at::Device where) { device = where; }

void all_reduce(Communicator& group) {
  const int64_t size = group.size(), rank = group.rank();
  for (const at::ScalarType type : kTypes) {
    for (const int64_t n : kCounts) {
      at::Tensor sum = ramp(n, rank + 1, type);
      group.all_reduce(sum);
      expect_equal(sum, ramp(n, size * (size + 1) / 2, type), "sum", group);
      at::Tensor most = ramp(n, 1, type, rank);
      group.all_reduce(most, ReduceOp::kMax);
      expect_equal(most, ramp(n, 1, type, size - 1), "max", group);
      at::Tensor least = ramp(n, 1, type, size - rank);
      group.all_reduce(least, ReduceOp::kMin);
      expect_equal(least, ramp(n, 1, type, 1), "min", group);
    }
  }
  at::Tensor scalar =
      at::full({}, static_cast<double>(rank), at::kDouble).to(device);  // no dimensions
  group.all_reduce(scalar);
  EXPECT_EQ(scalar.item<double>(), static_cast<double>(size * (size - 1) / 2));
}

void all_reduce_out_of_order_waits(Communicator& group) {
  const int64_t size = group.size();
  std::vector<at::Tensor> tensors;
  std::vector<WorkPtr> works;
  for (const int64_t n : kCounts) {
    tensors.push_back(ramp(n, group.rank() + 1, at::kFloat));
    works.push_back(group.all_reduce_async(tensors.back()));
  }
  for (size_t i = works.size(); i-- > 0;) {
    works[i]->make_progress();
    works[i]->wait();
    works[i]->wait();  // returns at once
    expect_equal(tensors[i], ramp(kCounts[i], size * (size + 1) / 2, at::kFloat), "async", group);
  }
}

void all_gather(Communicator& group) {
  for (const at::ScalarType type : kTypes) {
    for (const int64_t n : kCounts) {
      const at::Tensor in = ramp(n * 3, 1, type, group.rank()).view({n, 3});
      at::Tensor out = at::empty({group.size() * n, 3}, at::TensorOptions(type).device(device));
      group.all_gather(out, in);
      for (int64_t r = 0; r < group.size(); ++r) {
        expect_equal(out.narrow(0, r * n, n), ramp(n * 3, 1, type, r).view({n, 3}), "all_gather",
                     group);
      }
    }
  }
}

void reduce_scatter(Communicator& group) {
  const int64_t size = group.size(), rank = group.rank();
  for (const at::ScalarType type : kTypes) {
    for (const int64_t n : kCounts) {
      at::Tensor in = at::empty({size * n, 2}, at::TensorOptions(type).device(device));
      for (int64_t part = 0; part < size; ++part) {
        in.narrow(0, part * n, n).copy_(ramp(2 * n, rank + 1, type, part).view({n, 2}));
      }
      at::Tensor out = at::empty({n, 2}, at::TensorOptions(type).device(device));
      group.reduce_scatter(out, in);
      expect_equal(out, ramp(2 * n, size * (size + 1) / 2, type, size * rank).view({n, 2}),
                   "reduce_scatter", group);
    }
  }
}

void broadcast(Communicator& group) {
  for (const at::ScalarType type : kTypes) {
    for (const int64_t n : kCounts) {
      for (int root = 0; root < group.size(); ++root) {
        at::Tensor t = ramp(n, 1, type, group.rank());
        group.broadcast(t, root);
        expect_equal(t, ramp(n, 1, type, root), "broadcast", group);
      }
    }
  }
}

void send_and_recv(Communicator& group) {
  const int size = group.size(), rank = group.rank();
  if (size == 1) {
    return;
  }
  const int next = (rank + 1) % size, before = (rank + size - 1) % size;
  for (const at::ScalarType type : kTypes) {
    for (const int64_t n : kCounts) {
      const at::Tensor mine = ramp(n, 1, type, rank);
      at::Tensor theirs = at::empty({n}, at::TensorOptions(type).device(device));
      if (rank % 2 == 0) {
        group.send(mine, next);
        group.recv(theirs, before);
      } else {
        group.recv(theirs, before);
        group.send(mine, next);
      }
      expect_equal(theirs, ramp(n, 1, type, before), "send and recv", group);
    }
  }
}

void all_gather_bytes(Communicator& group) {
  const auto text = [](int rank) {
    return rank % 3 == 0 ? std::string() : std::string(static_cast<size_t>(7 * rank), 'a') + '\0';
  };
  const std::vector<std::string> all = group.all_gather_bytes(text(group.rank()));
  ASSERT_EQ(all.size(), static_cast<size_t>(group.size()));
  for (int rank = 0; rank < group.size(); ++rank) {
    EXPECT_EQ(all[static_cast<size_t>(rank)], text(rank));
  }
}

void split(Communicator& group) {
  const int size = group.size(), rank = group.rank();
  // Even and odd ranks apart, the last rank first.
  const auto half = group.split(rank % 2, -rank);
  const int members = (size + 1 - rank % 2) / 2;
  EXPECT_EQ(half->size(), members);
  EXPECT_EQ(half->rank(), members - 1 - rank / 2);
  at::Tensor sum = at::full({3}, rank, at::kLong).to(device);
  half->all_reduce(sum);
  int64_t expected = 0;
  for (int r = rank % 2; r < size; r += 2) {
    expected += r;
  }
  expect_equal(sum, at::full({3}, expected, at::kLong).to(device), "sum of half", *half);
  // A group of a group, and equal keys: the order of ranks stays.
  const auto whole = half->split(0, 0);
  EXPECT_EQ(whole->size(), members);
  EXPECT_EQ(whole->rank(), half->rank());
  whole->barrier();
  all_reduce(group);  // the parent still works
}

void counts(Communicator& group) {
  const auto fresh = group.split(0, 0);
  const int64_t size = group.size();
  at::Tensor part = at::full({5}, 1.0f), whole = at::full({5 * size}, 1.0f);
  fresh->all_reduce(part);
  fresh->all_reduce(whole);
  fresh->all_gather(whole, part);
  fresh->reduce_scatter(part, whole);
  fresh->broadcast(part, 0);
  fresh->barrier();
  const CommCounts& counts = fresh->counts();
  EXPECT_EQ(counts.all_reduce.calls, 2);
  EXPECT_EQ(counts.all_reduce.bytes, 20 + 20 * size);
  EXPECT_EQ(counts.all_gather.calls, 1);
  EXPECT_EQ(counts.all_gather.bytes, 20 * size);
  EXPECT_EQ(counts.reduce_scatter.calls, 1);
  EXPECT_EQ(counts.reduce_scatter.bytes, 20 * size);
  EXPECT_EQ(counts.broadcast.calls, 1);
  EXPECT_EQ(counts.broadcast.bytes, 20);
  EXPECT_EQ(counts.barrier.calls, 1);
  EXPECT_EQ(counts.split.calls, 0);
  EXPECT_EQ(counts.send.calls + counts.recv.calls, 0);
}

void consistency(Communicator& group) {
  EXPECT_NO_THROW(require_same_on_all_ranks(group, "the test's digest", "12ab", ""));
  if (group.size() == 1) {
    return;
  }
  // The last rank differs; all ranks say so.
  const bool last = group.rank() == group.size() - 1;
  try {
    require_same_on_all_ranks(group, "the test's digest", last ? "34cd" : "12ab", "start again");
    ADD_FAILURE() << "no rank noticed";
  } catch (const RanksDiffer& error) {
    const std::string text = error.what();
    const std::string named = "rank " + std::to_string(group.size() - 1) + " has '34cd'";
    EXPECT_NE(text.find("the test's digest is not the same"), std::string::npos) << text;
    EXPECT_NE(text.find(named), std::string::npos) << text;
  }
}

void refusals(Communicator& group) {
  const int size = group.size();
  at::Tensor good = at::full({4}, 1.0f), whole = at::full({4 * size}, 1.0f);
  at::Tensor undefined, half = at::full({4}, 1, at::kHalf);
  at::Tensor strided = at::full({4, 4}, 1.0f).narrow(1, 0, 2);
  EXPECT_THROW(group.all_reduce(undefined), c10::Error);
  EXPECT_THROW(group.all_reduce(half), c10::Error);
  EXPECT_THROW(group.all_reduce(strided), c10::Error);
  EXPECT_THROW(group.broadcast(good, size), c10::Error);
  EXPECT_THROW(group.broadcast(good, -1), c10::Error);
  at::Tensor wrong = at::full({4 * size + 1}, 1.0f), other = at::full({4 * size}, 1, at::kLong);
  EXPECT_THROW(group.all_gather(wrong, good), c10::Error);
  EXPECT_THROW(group.all_gather(other, good), c10::Error);
  EXPECT_THROW(group.reduce_scatter(good, wrong), c10::Error);
  EXPECT_THROW(group.reduce_scatter(good, other), c10::Error);
  EXPECT_THROW(group.send(good, group.rank()), c10::Error);
  EXPECT_THROW(group.recv(good, size), c10::Error);
  EXPECT_THROW(group.split(-1, 0), c10::Error);
}

}  // namespace dagpam::parallel::cases

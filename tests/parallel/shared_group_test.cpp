// Collectives through shared memory, without MPI: ranks are threads, each with its own mapping of
// one memory and calls of its own.
#include "parallel/shared_group.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/comm_error.h"
#include "parallel/rank_order.h"
#include "parallel/shared_memory.h"

namespace dagpam::parallel {
namespace {

using Kind = SharedCall::Kind;
using std::chrono::milliseconds;

// A rank with its own engine, as a process has it.
class Rank {
 public:
  Rank(std::unique_ptr<SharedMemory> memory, int rank, int size, int64_t piece,
       milliseconds timeout)
      : rank_(rank), size_(size) {
    SharedOptions options;
    options.timeout = timeout;
    options.piece_bytes = piece;
    options.engine = &engine_;
    options.fail = [](const CommCall& call, const char* expression, const std::string& text) {
      throw CommError(comm_failure(call, expression, text));
    };
    group_ = std::make_shared<SharedGroup>(std::move(memory), rank, size, options);
  }

  void add_region(std::unique_ptr<SharedMemory> memory, int64_t bytes) {
    region_ = group_->add_region(std::move(memory), bytes);
  }
  // n elements from element `first` of the region on.
  at::Tensor in_region(int64_t first, int64_t n) const {
    return at::from_blob(reinterpret_cast<float*>(region_.get()) + first, {n}, at::kFloat);
  }

  int rank() const { return rank_; }
  int size() const { return size_; }
  WorkPtr start(const SharedCall& what) {
    return group_->start({rank_, size_, "a group", "a call", calls_++}, what);
  }
  void sum(const at::Tensor& t) { start({Kind::kAllReduce, t})->wait(); }

 private:
  int rank_, size_;
  int64_t calls_ = 0;
  SharedEngine engine_;
  std::shared_ptr<SharedGroup> group_;
  std::shared_ptr<char> region_;
};

constexpr int64_t kRegionBytes = int64_t{4} * 110000;

void run_ranks(int size, int64_t piece, const std::function<void(Rank&)>& fn,
               milliseconds timeout = std::chrono::seconds(60)) {
  auto first = std::make_unique<SharedMemory>(SharedGroup::memory_bytes(size, piece));
  const SharedTicket ticket = first->ticket();
  std::vector<std::unique_ptr<Rank>> ranks;
  for (int r = 1; r < size; ++r) {
    ranks.push_back(
        std::make_unique<Rank>(std::make_unique<SharedMemory>(ticket), r, size, piece, timeout));
  }
  first->close();
  ranks.push_back(std::make_unique<Rank>(std::move(first), 0, size, piece, timeout));
  first = std::make_unique<SharedMemory>(SharedGroup::region_bytes(size, kRegionBytes));
  for (auto& rank : ranks) {
    const bool maker = rank == ranks.back();
    rank->add_region(maker ? std::move(first) : std::make_unique<SharedMemory>(first->ticket()),
                     kRegionBytes);
  }
  std::vector<std::jthread> threads;
  for (auto& rank : ranks) {
    threads.emplace_back([&fn, &rank] { fn(*rank); });
  }
}

// What rank r brings: sums of it depend on their order.
at::Tensor brought(int64_t n, int r) {
  return at::arange(n, at::kFloat).mul(0.37).add(r).sin().mul(r % 2 == 0 ? 1e4 : -1e4);
}

at::Tensor sum_in_rank_order(int64_t n, int size) {
  at::Tensor total = brought(n, 0).clone();
  for (int r = 1; r < size; ++r) total.add_(brought(n, r));
  return total;
}

class SharedRanks : public testing::TestWithParam<int> {};

// Short and long, whole pieces and parts of one, shares that are empty.
constexpr int64_t kPiece = 4096;
constexpr std::array<int64_t, 9> kCounts = {0, 1, 17, 4095, 4096, 4097, 8193, 20000, 100003};

TEST_P(SharedRanks, SumsHaveTheBitsOfTheRanksOrder) {
  run_ranks(GetParam(), kPiece, [](Rank& rank) {
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (const int64_t n : kCounts) {
        at::Tensor t = brought(n, rank.rank()).clone();
        rank.sum(t);
        EXPECT_TRUE(t.equal(sum_in_rank_order(n, rank.size()))) << n << " on " << rank.rank();
      }
    }
  });
}

// In the tensors themselves, where all are in memory of the group; at offsets that differ.
TEST_P(SharedRanks, SumsInPlaceAreTheSameBits) {
  run_ranks(GetParam(), kPiece, [](Rank& rank) {
    for (const bool all : {true, false}) {
      for (const int64_t n : kCounts) {
        at::Tensor room = rank.in_region(0, kRegionBytes / 4);
        room.fill_(-5);
        const int64_t first = 3 + 16 * rank.rank();
        at::Tensor t =
            all || rank.rank() != 1 ? room.narrow(0, first, n) : at::empty({n}, at::kFloat);
        t.copy_(brought(n, rank.rank()));
        rank.sum(t);
        EXPECT_TRUE(t.equal(sum_in_rank_order(n, rank.size()))) << n << " on " << rank.rank();
        EXPECT_EQ(room[first - 1].item<float>(), -5);
        EXPECT_EQ(room[first + n].item<float>(), -5);
      }
    }
  });
}

TEST_P(SharedRanks, ScatteredSumsAreTheSameBits) {
  run_ranks(GetParam(), kPiece, [](Rank& rank) {
    for (const int64_t n : kCounts) {
      const at::Tensor in = brought(n * rank.size(), rank.rank()).contiguous();
      at::Tensor out = at::empty({n}, at::kFloat);
      rank.start({Kind::kReduceScatter, out, in})->wait();
      const at::Tensor all = sum_in_rank_order(n * rank.size(), rank.size());
      EXPECT_TRUE(out.equal(all.narrow(0, rank.rank() * n, n))) << n << " on " << rank.rank();
    }
  });
}

TEST_P(SharedRanks, GatherAndBroadcast) {
  run_ranks(GetParam(), kPiece, [](Rank& rank) {
    for (const int64_t n : kCounts) {
      at::Tensor out = at::empty({n * rank.size()}, at::kFloat);
      rank.start({Kind::kAllGather, out, brought(n, rank.rank()).contiguous()})->wait();
      at::Tensor t = brought(n, rank.rank()).clone();
      const int root = static_cast<int>(n) % rank.size();
      rank.start({Kind::kBroadcast, t, {}, ReduceOp::kSum, root})->wait();
      for (int r = 0; r < rank.size(); ++r) {
        EXPECT_TRUE(out.narrow(0, r * n, n).equal(brought(n, r))) << n << " of " << r;
      }
      EXPECT_TRUE(t.equal(brought(n, root))) << n << " from " << root;
    }
  });
}

// Many calls of all lengths, started at once, waited for in another order, by ranks that are late
// at different calls.
TEST_P(SharedRanks, CallsUnderWayTogether) {
  run_ranks(GetParam(), kPiece, [](Rank& rank) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      std::vector<at::Tensor> sums;
      std::vector<WorkPtr> works;
      for (int64_t i = 0; i < 40; ++i) {
        const int64_t n = i % 5 == 0 ? 5000 + 997 * i : i;
        sums.push_back(at::full({n}, static_cast<double>(rank.rank() + i), at::kDouble));
        if ((i + rank.rank()) % 13 == 0) std::this_thread::sleep_for(milliseconds(1));
        works.push_back(rank.start({Kind::kAllReduce, sums.back()}));
        works[static_cast<size_t>(i) / 2]->make_progress();
      }
      for (size_t i = works.size(); i-- > 0;) {
        works[i]->wait();
        const double size = rank.size();
        const double sum = size * (size - 1) / 2 + size * static_cast<double>(i);
        EXPECT_TRUE(sums[i].equal(at::full(sums[i].sizes(), sum, at::kDouble))) << i;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, SharedRanks, testing::Values(2, 3, 4, 7));

TEST(SharedGroup, ARankThatStaysAwayIsNamed) {
  run_ranks(
      3, kPiece,
      [](Rank& rank) {
        at::Tensor t = at::full({4}, 1.0f);
        if (rank.rank() == 1) return;
        try {
          rank.sum(t);
          ADD_FAILURE() << "rank " << rank.rank() << " waited for nobody";
        } catch (const CommError& error) {
          const std::string text = error.what();
          EXPECT_NE(text.find("not complete after the timeout of 0.2 s"), std::string::npos)
              << text;
          EXPECT_NE(text.find("rank 1 is behind"), std::string::npos) << text;
        }
      },
      milliseconds(200));
}

TEST(SharedGroup, AnotherCallOfAPeerIsNamed) {
  for (const int64_t long_one : {int64_t{5}, int64_t{50000}}) {
    run_ranks(2, kPiece, [long_one](Rank& rank) {
      at::Tensor t = at::full({rank.rank() == 0 ? 4 : long_one}, 1.0f);
      try {
        rank.sum(t);
        ADD_FAILURE() << "rank " << rank.rank() << " noticed nothing";
      } catch (const CommError& error) {
        const std::string named = "rank " + std::to_string(1 - rank.rank()) + " makes another call";
        EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
      }
      EXPECT_THROW(rank.sum(t), CommError);  // of no further use
    });
  }
}

TEST(RankOrder, TheLargestAndSmallestOfWhatIsNotANumberIsNone) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::array<std::array<float, 3>, 3> x = {{{nan, 1, 1}, {1, nan, 2}, {1, 1, 3}}};
  std::vector<const char*> in;
  for (const auto& rank : x) in.push_back(reinterpret_cast<const char*>(rank.data()));
  for (const ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin}) {
    std::array<float, 3> out{};
    reduce_in_rank_order(at::kFloat, op, reinterpret_cast<char*>(out.data()), {}, in, 3);
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_TRUE(std::isnan(out[1]));
    EXPECT_EQ(out[2], op == ReduceOp::kMax ? 3 : 1);
  }
}

TEST(SharedMemory, IsTheSameInAnotherProcess) {
  SharedMemory mine(10000);
  EXPECT_EQ(mine.data()[9999], 0);
  const SharedTicket ticket = mine.ticket();
  EXPECT_TRUE(on_this_node(ticket));
  const pid_t child = fork();
  if (child == 0) {
    SharedMemory theirs(ticket);
    theirs.data()[9999] = 7;
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(mine.data()[9999], 7);
}

TEST(SharedMemory, IsRefusedInOneClause) {
  const auto why = [](const auto& fn) {
    try {
      fn();
    } catch (const NoSharedMemory& error) {
      return std::string(error.what());
    }
    return std::string("not refused");
  };
  const auto starts = [](const std::string& text, const std::string& with) {
    EXPECT_EQ(text.substr(0, with.size()), with);
  };
  starts(why([] { SharedMemory more_than_there_is(size_t{1} << 55); }),
         "no room for 36028797018963968 bytes of shared memory: ");
  SharedMemory mine(10000);
  SharedTicket ticket = mine.ticket();
  ticket.token ^= 2;
  EXPECT_NE(why([&] { SharedMemory another(ticket); }).find("not the memory of the peer"),
            std::string::npos);
  ticket = mine.ticket();
  ticket.bytes += 1;
  EXPECT_NE(why([&] { SharedMemory another(ticket); }).find("not the memory of the peer"),
            std::string::npos);
  mine.close();
  starts(why([&] { SharedMemory too_late(ticket); }), "opening /proc/");
  ticket.boot[0] = static_cast<char>(ticket.boot[0] ^ 1);
  EXPECT_FALSE(on_this_node(ticket));
}

}  // namespace
}  // namespace dagpam::parallel

// Ranks as threads, and one rank by itself.
#include "parallel/communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "parallel/comm_error.h"
#include "tests/parallel/collective_cases.h"

namespace dagpam::parallel {
namespace {

using std::chrono::milliseconds;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(SelfCommunicator, EveryCase) {
  const auto self = make_self_communicator();
  EXPECT_EQ(self->rank(), 0);
  EXPECT_EQ(self->size(), 1);
  cases::all(*self);
}

class ThreadRanks : public testing::TestWithParam<int> {};

TEST_P(ThreadRanks, EveryCase) { run_ranks_as_threads(GetParam(), cases::all); }

TEST_P(ThreadRanks, KnowTheirPlace) {
  std::atomic<int> sum{0};
  run_ranks_as_threads(GetParam(), [&](Communicator& group) {
    EXPECT_EQ(group.size(), GetParam());
    sum += group.rank();
  });
  EXPECT_EQ(sum, GetParam() * (GetParam() - 1) / 2);
}

// Floating-point sums that depend on the order: the same bits on every rank and in every run.
TEST_P(ThreadRanks, SumsInRankOrder) {
  run_ranks_as_threads(GetParam(), [](Communicator& group) {
    const float values[] = {1e8f, 3.14f, -1e8f, 1e-3f, 7e7f, -2.5f, 0.1f, -7e7f};
    float expected = values[0];
    for (int rank = 1; rank < group.size(); ++rank) {
      expected += values[rank];
    }
    for (int repeat = 0; repeat < 20; ++repeat) {
      at::Tensor t = at::full({9}, values[group.rank()]);
      group.all_reduce(t);
      EXPECT_EQ(t[8].item<float>(), expected);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadRanks, testing::Range(1, 9));

TEST(ThreadFailures, AnExceptionInOneRankEndsTheOthers) {
  std::atomic<int> told{0};
  try {
    run_ranks_as_threads(4, [&](Communicator& group) {
      if (group.rank() == 2) {
        throw std::invalid_argument("rank two gives up");
      }
      try {
        at::Tensor t = at::full({3}, 1.0f);
        group.all_reduce(t);
        group.barrier();
      } catch (const CommError& error) {
        told += contains(error.what(), "rank two gives up") ? 1 : 0;
        throw;
      }
    });
    ADD_FAILURE() << "the exception was lost";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "rank two gives up");
  }
  EXPECT_EQ(told, 3);
}

TEST(ThreadFailures, ARankThatNeverCallsIsOverdue) {
  std::atomic<bool> release{false};
  try {
    run_ranks_as_threads(
        3,
        [&](Communicator& group) {
          if (group.rank() == 1) {
            while (!release) {
              std::this_thread::sleep_for(milliseconds(5));
            }
            return;
          }
          try {
            group.barrier();
            at::Tensor t = at::full({3}, 1.0f);
            group.all_reduce(t);
          } catch (const CommError&) {
            release = true;
            throw;
          }
        },
        milliseconds(100));
    ADD_FAILURE() << "nobody noticed";
  } catch (const CommError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(contains(text, "'thread world' (3 ranks), call 0, barrier")) << text;
    EXPECT_TRUE(contains(text, "timeout of 0.1 s")) << text;
  }
}

TEST(ThreadFailures, AnOverdueReceiverAndSender) {
  for (const bool sends : {true, false}) {
    EXPECT_THROW(run_ranks_as_threads(
                     2,
                     [&](Communicator& group) {
                       at::Tensor t = at::full({3}, 1.0f);
                       if (group.rank() == 0 && sends) {
                         group.send(t, 1);
                       } else if (group.rank() == 0) {
                         group.recv(t, 1);
                       }
                     },
                     milliseconds(50)),
                 CommError);
  }
}

// The text of the CommError that fn ends with on two ranks.
std::string error_of(const std::function<void(Communicator&)>& fn) {
  try {
    run_ranks_as_threads(2, fn);
  } catch (const CommError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ThreadFailures, DifferentCallsAreNamed) {
  const std::string calls = error_of([](Communicator& group) {
    at::Tensor t = at::full({3}, 1.0f);
    group.rank() == 0 ? group.all_reduce(t) : group.barrier();
  });
  EXPECT_TRUE(contains(calls, "rank 0 called all_reduce sum Float [3], but rank 1 called barrier"))
      << calls;
  const std::string shapes = error_of([](Communicator& group) {
    at::Tensor t = at::full({3 + group.rank()}, 1.0f);
    group.all_reduce(t);
  });
  EXPECT_TRUE(contains(shapes, "[3], but rank 1 called all_reduce sum Float [4]")) << shapes;
  const std::string roots = error_of([](Communicator& group) {
    at::Tensor t = at::full({3}, 1.0f);
    group.broadcast(t, group.rank());
  });
  EXPECT_TRUE(contains(roots, "broadcast from rank 1")) << roots;
  const std::string letters = error_of([](Communicator& group) {
    at::Tensor t = at::full({3 + group.rank()}, 1.0f);
    group.rank() == 0 ? group.send(t, 1) : group.recv(t, 0);
  });
  EXPECT_TRUE(contains(letters, "was sent Float [3]")) << letters;
}

TEST(ThreadFailures, AfterAFailureEveryCallFails) {
  EXPECT_THROW(run_ranks_as_threads(2,
                                    [](Communicator& group) {
                                      at::Tensor t = at::full({3 + group.rank()}, 1.0f);
                                      EXPECT_THROW(group.all_reduce(t), CommError);
                                      EXPECT_THROW(group.barrier(), CommError);
                                      group.split(0, 0);
                                    }),
               CommError);
}

TEST(AbortDeathTest, EndsTheProcessWithItsCode) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(run_ranks_as_threads(2,
                                   [](Communicator& group) {
                                     if (group.rank() == 1) {
                                       group.abort(6);
                                     }
                                     group.barrier();
                                   }),
              testing::ExitedWithCode(6), "");
  EXPECT_EXIT(make_self_communicator()->abort(5), testing::ExitedWithCode(5), "");
}

}  // namespace
}  // namespace dagpam::parallel

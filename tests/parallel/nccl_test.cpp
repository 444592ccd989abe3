// The NCCL communicator over a scripted fake: what is asked in which order, and what becomes of
// errors. The real library: nccl_gpu_test.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/comm_error.h"
#include "parallel/nccl_communicator.h"
#include "tests/parallel/collective_cases.h"
#include "tests/parallel/fake_nccl.h"

namespace dagpam::parallel {
namespace {

using fakes::options;
using fakes::ScriptedNccl;
using std::chrono::milliseconds;
using Log = std::vector<std::string>;

// One rank whose device is the CPU, so that every tensor goes to the fake.
struct Rig {
  explicit Rig(const NcclOptions& how = options(), int polls = 0)
      : api(std::make_shared<ScriptedNccl>()) {
    api->polls = polls;
    world = make_nccl_world(make_self_communicator(), api, at::kCPU, how);
    api->log.clear();
  }
  std::shared_ptr<ScriptedNccl> api;
  std::unique_ptr<Communicator> world;
};

std::string error_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const CommError& error) {
    return error.what();
  }
  return "no error";
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks\n" << part;
}

TEST(Nccl, ACallStandsBetweenTheCallersStreamAndItself) {
  Rig rig;
  at::Tensor t = at::full({3, 4}, 1.0f);
  const WorkPtr work = rig.world->all_reduce_async(t, ReduceOp::kMax);
  EXPECT_EQ(rig.api->log, (Log{"record e1 on caller", "s1 waits for e1", "all_reduce 12 max",
                               "record e2 on s1"}));
  rig.api->log.clear();
  work->wait();
  work->wait();
  EXPECT_EQ(rig.api->log, (Log{"caller waits for e2"}));
}

TEST(Nccl, TheEventIsRecordedWhenTheCallIsNoLongerInProgress) {
  Rig rig(options(), 3);
  at::Tensor t = at::full({2}, 1.0f);
  rig.world->all_reduce(t);
  EXPECT_EQ(rig.api->log,
            (Log{"record e1 on caller", "s1 waits for e1", "all_reduce 2 sum", "state", "state",
                 "state", "state", "record e2 on s1", "caller waits for e2"}));
}

TEST(Nccl, AGroupOfCallsIsOneOfTheLibrary) {
  Rig rig(options(), 1);
  at::Tensor a = at::full({2}, 1.0f), b = at::full({3}, 1.0f);
  std::vector<WorkPtr> works;
  rig.world->together([&] {
    works.push_back(rig.world->all_reduce_async(a));
    works.push_back(rig.world->all_reduce_async(b));
    rig.world->broadcast(b, 0);
    EXPECT_THROW(works.front()->wait(), c10::Error);  // its event is not there yet
  });
  EXPECT_EQ(
      rig.api->log,
      (Log{"group_start", "record e1 on caller", "s1 waits for e1", "all_reduce 2 sum",
           "record e1 on caller", "s1 waits for e1", "all_reduce 3 sum", "record e1 on caller",
           "s1 waits for e1", "broadcast 3 from 0", "group_end", "state", "state",
           "record e2 on s1", "record e3 on s1", "record e4 on s1", "caller waits for e4"}));
  for (const WorkPtr& work : works) work->wait();
  rig.api->log.clear();
  rig.world->together([&] { rig.world->broadcast(a, 0); });  // of its own calls alone
  EXPECT_EQ(rig.api->log,
            (Log{"group_start", "record e1 on caller", "s1 waits for e1", "broadcast 2 from 0",
                 "group_end", "state", "state", "record e5 on s1", "caller waits for e5"}));
}

TEST(Nccl, AnErrorWithinAGroupClosesItBeforeItAborts) {
  Rig rig;
  rig.api->failing = "broadcast";
  rig.api->failing_call = 1;
  at::Tensor a = at::full({2}, 1.0f);
  const std::string text = error_of([&] {
    rig.world->together([&] {
      rig.world->all_reduce_async(a);
      rig.world->broadcast(a, 0);
    });
  });
  expect_part(text, "broadcast from rank 0 Float [2]: ncclBroadcast: nccl result 3");
  const Log& log = rig.api->log;
  EXPECT_EQ(Log(log.end() - 3, log.end()), (Log{"broadcast 2 from 0", "group_end", "abort c1"}));
  EXPECT_EQ(rig.api->count("group_end"), 1);
}

TEST(Nccl, AnErrorNamesTheCallAndAbortsOnce) {
  Rig rig;
  rig.api->failing = "all_reduce";
  rig.api->failing_call = 3;
  at::Tensor t = at::full({3}, 1.0f);
  rig.world->all_reduce(t);
  const WorkPtr second = rig.world->all_reduce_async(t);
  const std::string text = error_of([&] { rig.world->all_reduce(t); });
  EXPECT_EQ(text,
            "rank 0 of 'self with nccl' (1 ranks), call 2, all_reduce sum Float [3]: "
            "ncclAllReduce: nccl result 3");
  // Whatever is called now, by GPU or CPU, says the same, and nothing is aborted again.
  EXPECT_EQ(error_of([&] { second->wait(); }), text);
  EXPECT_EQ(error_of([&] { second->make_progress(); }), text);
  EXPECT_EQ(error_of([&] { rig.world->broadcast(t, 0); }), text);
  EXPECT_EQ(error_of([&] { rig.world->barrier(); }), text);
  EXPECT_EQ(error_of([&] { rig.world->split(0, 0); }), text);
  EXPECT_EQ(error_of([&] { rig.world->together([] {}); }), text);
  rig.world.reset();
  EXPECT_EQ(rig.api->count("abort"), 1);
  EXPECT_EQ(rig.api->count("finalize") + rig.api->count("destroy"), 0);
}

TEST(Nccl, AnErrorWhileTheStateIsAsked) {
  Rig rig(options(), 2);
  rig.api->asking = 4;
  at::Tensor t = at::full({3}, 1.0f);
  expect_part(error_of([&] { rig.world->all_reduce(t); }), "ncclAllReduce: nccl result 4");
  EXPECT_EQ(rig.api->count("abort"), 1);
}

TEST(Nccl, ACallThatIsNeverDoneIsOverdue) {
  Rig rig(options(milliseconds(20)));
  rig.api->never_ready = true;
  at::Tensor t = at::full({3}, 1.0f);
  const std::string text = error_of([&] { rig.world->all_reduce(t); });
  expect_part(text,
              "call 0, all_reduce sum Float [3]: ncclAllReduce: not complete after the "
              "timeout of 0.02 s");
  EXPECT_EQ(rig.api->count("abort"), 1);
}

TEST(Nccl, AWorldThatIsNeverReadyIsOverdue) {
  const auto api = std::make_shared<ScriptedNccl>();
  api->never_ready = true;
  const std::string text = error_of(
      [&] { make_nccl_world(make_self_communicator(), api, at::kCPU, options(milliseconds(20))); });
  expect_part(text, "a new group: ncclCommInitRankConfig: not complete");
  EXPECT_EQ(api->count("abort"), 1);
}

TEST(Nccl, WithoutAnIdEveryRankThrows) {
  std::atomic<int> told{0};
  EXPECT_THROW(run_ranks_as_threads(
                   2,
                   [&](Communicator& group) {
                     const auto api = std::make_shared<ScriptedNccl>();
                     api->failing = "make_id";
                     api->failing_call = 1;
                     try {
                       make_nccl_world(group.split(0, group.rank()), api, at::kCPU, options());
                     } catch (const CommError& error) {
                       expect_part(error.what(),
                                   group.rank() == 0 ? "nccl result 3" : "failed on rank 0");
                       ++told;
                       throw;
                     }
                   }),
               CommError);
  EXPECT_EQ(told, 2);
}

TEST(Nccl, AGroupLeavesInGoodOrder) {
  Rig rig(options(), 1);
  rig.world.reset();
  EXPECT_EQ(rig.api->log, (Log{"finalize", "state", "state", "destroy"}));
}

TEST(Nccl, AnExceptionOnItsWayAborts) {
  std::shared_ptr<ScriptedNccl> api;
  try {
    Rig rig;
    api = rig.api;
    throw std::runtime_error("another error");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(api->log, (Log{"abort c1"}));
}

TEST(Nccl, CountsAreElementsPast32Bits) {
  Rig rig;
  const int64_t n = (int64_t{5} << 31) + 7;
  float memory = 0;  // nothing of it is touched
  at::Tensor large = at::from_blob(&memory, {n}, at::TensorOptions(at::kFloat));
  rig.world->all_reduce(large);
  rig.world->all_gather(large, large);
  rig.world->reduce_scatter(large, large);
  rig.world->broadcast(large, 0);
  ASSERT_EQ(rig.api->buffers.size(), 4u);
  for (const NcclBuffers& b : rig.api->buffers) {
    EXPECT_EQ(b.count, static_cast<size_t>(n));
    EXPECT_EQ(b.in, &memory);
    EXPECT_EQ(b.out, &memory);
  }
  EXPECT_EQ(rig.world->counts().all_reduce.bytes, 4 * n);
}

// The meta device stands for a GPU: its tensors go to the library, CPU ones to the host group.
TEST(Nccl, EachDevicesTensorsTakeTheirOwnWay) {
  const auto api = std::make_shared<ScriptedNccl>();
  const auto world = make_nccl_world(make_self_communicator(), api, at::kMeta, options());
  EXPECT_EQ(world->device(), at::Device(at::kMeta));
  api->log.clear();
  at::Tensor here = at::full({2}, 3.0f);
  world->all_reduce(here);
  EXPECT_EQ(world->all_gather_bytes("text").front(), "text");
  world->barrier();
  EXPECT_EQ(api->log, Log{});
  for (const at::ScalarType type :
       {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kByte}) {
    at::Tensor there = at::empty({2}, at::TensorOptions(type).device(at::kMeta));
    world->all_reduce(there);
    EXPECT_EQ(api->buffers.back().type, type);
  }
  EXPECT_EQ(api->count("all_reduce"), 7);
  EXPECT_EQ(world->counts().all_reduce.calls, 8);
  at::Tensor other = at::empty({2}, at::TensorOptions(at::kBool).device(at::kMeta));
  EXPECT_THROW(world->all_reduce(other), c10::Error);
  at::Tensor part = at::empty({2}, at::TensorOptions(at::kFloat).device(at::kMeta));
  EXPECT_THROW(world->all_gather(here, part), c10::Error);
}

TEST(Nccl, NothingToMoveAsksNothing) {
  Rig rig;
  at::Tensor none = at::empty({0}, at::TensorOptions(at::kFloat));
  rig.world->all_reduce(none);
  rig.world->broadcast(none, 0);
  EXPECT_EQ(rig.api->log, Log{});
  EXPECT_EQ(rig.world->counts().all_reduce.calls, 1);
}

TEST(Nccl, ASplitAsksTheParentThenTheChild) {
  run_ranks_as_threads(3, [](Communicator& group) {
    const auto api = std::make_shared<ScriptedNccl>();
    const auto world = make_nccl_world(group.split(0, group.rank()), api, at::kCPU, options());
    api->log.clear();
    api->polls = 1;
    const auto pair = world->split(group.rank() / 2, -group.rank());
    EXPECT_EQ(pair->size(), group.rank() < 2 ? 2 : 1);
    EXPECT_EQ(pair->device(), at::Device(at::kCPU));
    if (group.rank() == 2) {  // alone: takes part, keeps no communicator
      EXPECT_EQ(api->log.front(), "split colour 1 key -2");
      EXPECT_EQ(api->count("split"), 1);
      EXPECT_EQ(api->count("finalize") + api->count("destroy"), 2);
      return;
    }
    EXPECT_EQ(pair->rank(), 1 - group.rank());
    EXPECT_EQ(api->log, (Log{"split colour 0 key " + std::to_string(-group.rank()), "state",
                             "state", "state", "state"}));
    at::Tensor t = at::full({3}, 1.0f);
    pair->all_reduce(t);
    EXPECT_EQ(api->log.back(), "caller waits for e3");  // events of its own
  });
}

// Closed forms: every case that the other back ends pass, each rank over a fake that moves numbers.
class NcclRanks : public testing::TestWithParam<int> {};

TEST_P(NcclRanks, EveryCase) {
  run_ranks_as_threads(GetParam(), [](Communicator& group) {
    const auto api = std::make_shared<fakes::ThreadNccl>(group);
    const auto world = make_nccl_world(group.split(0, group.rank()), api, at::kCPU, options());
    cases::all(*world);
    at::Tensor a = at::full({3}, 1.0f), b = at::full({2}, 2.0f);
    world->together([&] {
      world->all_reduce_async(a);
      world->all_reduce_async(b);
    });
    EXPECT_TRUE(a.equal(at::full({3}, 1.0f * static_cast<float>(world->size()))));
    EXPECT_TRUE(b.equal(at::full({2}, 2.0f * static_cast<float>(world->size()))));
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, NcclRanks, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace dagpam::parallel

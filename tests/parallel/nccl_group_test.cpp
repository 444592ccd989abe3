// One NCCL group and the watch over it, with the scripted fake: what shows after a call has
// returned.
#include "parallel/nccl_group.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "parallel/comm_error.h"
#include "parallel/nccl_job.h"
#include "tests/parallel/fake_nccl.h"

namespace dagpam::parallel {
namespace {

using fakes::options;
using fakes::ScriptedNccl;
using std::chrono::milliseconds;
using Log = std::vector<std::string>;

// One group, with the job in reach.
struct GroupRig {
  explicit GroupRig(const NcclOptions& how = options())
      : api(std::make_shared<ScriptedNccl>()), job(std::make_shared<NcclJob>(api, how)) {
    NcclId id;
    id.fill('i');
    group = NcclGroup::make(job, "the group", 1, id, 0);
    api->log.clear();
  }
  WorkPtr start(const std::string& name, at::Tensor t) {
    return group->start(name, "ncclAllReduce", {t},
                        [t](NcclApi& nccl, NcclHandle comm, StreamHandle stream) {
                          return nccl.all_reduce({t.data_ptr(), t.data_ptr(), 1, at::kFloat},
                                                 ReduceOp::kSum, comm, stream);
                        });
  }
  std::shared_ptr<ScriptedNccl> api;
  std::shared_ptr<NcclJob> job;
  std::shared_ptr<NcclGroup> group;
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

// A flag that is cleared when the tensor's memory is given back.
at::Tensor watched(float& memory, bool& alive) {
  alive = true;
  return at::from_blob(
      &memory, {1}, [&alive](void*) { alive = false; }, at::TensorOptions(at::kFloat));
}

TEST(NcclGroup, TensorsLiveUntilTheWaitOrUntilTheEventHasPassed) {
  GroupRig rig;
  rig.api->events_pass = false;
  float memory[2] = {};
  bool first = false, second = false;
  const WorkPtr work = rig.start("first", watched(memory[0], first));
  rig.start("second", watched(memory[1], second));  // nobody waits for it
  rig.job->watch(milliseconds(1));
  EXPECT_TRUE(first && second);
  work->wait();
  EXPECT_TRUE(!first && second);
  rig.api->events_pass = true;
  rig.job->watch(milliseconds(1));
  EXPECT_FALSE(second);
}

TEST(NcclGroup, AnEventThatHasPassedIsNotWaitedFor) {
  GroupRig rig;
  const WorkPtr work = rig.start("first", at::full({1}, 1.0f));
  rig.job->watch(milliseconds(1));
  rig.api->log.clear();
  work->wait();
  EXPECT_EQ(rig.api->log, Log{});
}

TEST(NcclGroup, AnErrorThatShowsLaterNamesTheFirstCallUnderWay) {
  GroupRig rig;
  rig.api->events_pass = false;
  const WorkPtr work = rig.start("first", at::full({1}, 1.0f));
  rig.start("second", at::full({1}, 1.0f));
  rig.job->watch(milliseconds(1));
  rig.api->later = 6;
  rig.job->watch(milliseconds(1));
  rig.job->watch(milliseconds(1));
  EXPECT_EQ(error_of([&] { work->wait(); }),
            "rank 0 of 'the group' (1 ranks), call 0, first: ncclCommGetAsyncError: nccl result 6");
  EXPECT_EQ(rig.api->count("abort"), 1);
}

TEST(NcclGroup, AnErrorOfTheDeviceShowsLaterToo) {
  GroupRig rig;
  const WorkPtr work = rig.start("first", at::full({1}, 1.0f));
  rig.api->event_error = 719;
  rig.job->watch(milliseconds(1));
  expect_part(error_of([&] { work->wait(); }), "first: cudaEventQuery: cuda result 719");
}

// A call's time runs from when those before it were done.
TEST(NcclGroup, WorkThatIsNeverDoneIsOverdue) {
  GroupRig rig(options(milliseconds(2500)));
  rig.api->events_pass = false;
  rig.start("first", at::full({1}, 1.0f));
  const WorkPtr work = rig.start("second", at::full({1}, 1.0f));
  for (int i = 0; i < 2; ++i) rig.job->watch(std::chrono::seconds(1));
  rig.api->passes_left = 1;
  rig.job->watch(milliseconds(1));
  // A gap counts for a second at most: the process itself may have been stopped.
  for (int i = 0; i < 2; ++i) rig.job->watch(std::chrono::hours(1));
  work->make_progress();
  rig.job->watch(std::chrono::seconds(1));
  expect_part(error_of([&] { work->make_progress(); }),
              "call 1, second: cudaEventQuery: not complete after the timeout of 2.5 s");
  EXPECT_EQ(rig.api->count("abort"), 1);
}

TEST(NcclGroup, AFailureAbortsEveryGroupOfTheJob) {
  GroupRig rig;
  const auto other = rig.group->split(0, 0, "another", 1, 0);
  rig.api->failing = "all_reduce";
  rig.api->failing_call = 1;
  EXPECT_NE(error_of([&] { rig.start("first", at::full({1}, 1.0f)); }), "no error");
  EXPECT_EQ(rig.api->count("abort"), 2);
  EXPECT_NE(error_of([&] { other->together([] {}); }), "no error");
}

TEST(NcclGroup, ASplitWaitsForItsCommunicator) {
  GroupRig rig;
  rig.api->late_handle = 5;
  const auto part = rig.group->split(0, 0, "a part", 1, 0);
  EXPECT_EQ(rig.api->count("split"), 1);
  EXPECT_EQ(rig.api->late_handle, 0);
  ASSERT_NE(part, nullptr);
  rig.api->late_handle = 2;  // and its parent can be split again at once
  rig.group->split(0, 0, "another part", 1, 0);
  GroupRig late(options(std::chrono::milliseconds(20)));
  late.api->late_handle = 1 << 30;
  expect_part(error_of([&] { late.group->split(0, 0, "a part", 1, 0); }), "ncclCommSplit");
}

TEST(NcclGroup, WhoDoesNotNoticeAFailureIsEnded) {
  for (const bool notices : {false, true}) {
    std::vector<std::string> ended;
    NcclOptions how = options();
    how.patience = std::chrono::seconds(3);
    how.last_resort = [&](const std::string& words) { ended.push_back(words); };
    GroupRig rig(how);
    const WorkPtr work = rig.start("first", at::full({1}, 1.0f));
    rig.api->later = 6;
    rig.job->watch(milliseconds(1));
    if (notices) {
      EXPECT_NE(error_of([&] { work->wait(); }), "no error");
    }
    for (int i = 0; i < 6; ++i) rig.job->watch(std::chrono::seconds(1));
    ASSERT_EQ(ended.size(), notices ? 0u : 1u);
    if (!notices) {
      expect_part(ended.front(), "nccl result 6");
    }
  }
}

TEST(NcclGroup, TheWatchIsAThread) {
  NcclOptions how = options();
  how.watch_every = milliseconds(1);
  GroupRig rig(how);
  const WorkPtr work = rig.start("first", at::full({1}, 1.0f));
  {
    const auto held = rig.job->lock();
    rig.api->later = 6;
  }
  std::string text = "no error";
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (text == "no error" && std::chrono::steady_clock::now() < end) {
    text = error_of([&] { work->make_progress(); });
    std::this_thread::yield();
  }
  expect_part(text, "ncclCommGetAsyncError: nccl result 6");
}

}  // namespace
}  // namespace dagpam::parallel

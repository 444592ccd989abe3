#include "parallel/watched_communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/comm_error.h"
#include "tests/data/scratch_folder.h"

namespace dagpam::parallel {
namespace {

// What each of `ranks` ranks throws in `fn`, "" for nothing.
std::vector<std::string> errors_of(int ranks, const std::function<void(Communicator&)>& fn) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  run_ranks_as_threads(ranks, [&](Communicator& world) {
    const auto group = make_watched_communicator(world, {.compare = true});
    errors[static_cast<size_t>(world.rank())] = data::message_of<CommError>([&] { fn(*group); });
  });
  return errors;
}

TEST(WatchedCommunicatorTest, EqualCallsPassAndGiveWhatTheyShould) {
  const auto errors = errors_of(3, [](Communicator& group) {
    at::Tensor t = at::ones({4});
    group.all_reduce(t);
    EXPECT_TRUE(t.equal(at::full({4}, 3.0)));
    at::Tensor all = at::ones({6});
    group.all_gather(all, at::full({2}, static_cast<float>(group.rank())));
    EXPECT_EQ(all[5].item<double>(), 2);
    group.barrier();
    const auto part = group.split(group.rank() % 2, 0);
    at::Tensor one = at::ones({});
    part->all_reduce(one);
    EXPECT_EQ(one.item<double>(), group.rank() % 2 == 0 ? 2 : 1);
    EXPECT_EQ(group.counts().all_reduce.bytes, 16);
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

// Every rank is told what each was about to do, the odd one too.
TEST(WatchedCommunicatorTest, AnotherShapeOnOneRankIsNamedOnAll) {
  const auto errors = errors_of(3, [](Communicator& group) {
    group.barrier();
    at::Tensor t = at::ones({group.rank() == 1 ? 5 : 4});
    group.all_reduce(t);
  });
  for (const std::string& error : errors) {
    data::expect_message(error, {"rank 0: call 1, all_reduce sum Float [4]",
                                 "rank 1: call 1, all_reduce sum Float [5]"});
  }
}

TEST(WatchedCommunicatorTest, ACallThatOneRankLeftOutIsNamed) {
  const auto errors = errors_of(2, [](Communicator& group) {
    at::Tensor t = at::ones({4});
    if (group.rank() == 0) group.all_reduce(t);
    group.barrier();
  });
  for (const std::string& error : errors) {
    data::expect_message(error, {"rank 0: call 0, all_reduce", "rank 1: call 0, barrier"});
  }
}

TEST(WatchedCommunicatorTest, TheRecorderKnowsWhatIsWaitedFor) {
  const data::ScratchFolder folder;
  const std::string path = folder / "flight";
  run_ranks_as_threads(2, [&](Communicator& world) {
    FlightRecorder recorder(world.rank(), 2);
    recorder.share(path);
    const auto group = make_watched_communicator(world, {.recorder = &recorder});
    const auto mine = [&] { return recorder.read()[static_cast<size_t>(world.rank())]; };
    at::Tensor t = at::ones({4});
    const WorkPtr work = group->all_reduce_async(t);
    EXPECT_EQ(mine().collective.find("in all_reduce sum Float [4], "), 0u) << mine().collective;
    EXPECT_EQ(mine().calls, 1);
    work->wait();
    EXPECT_EQ(mine().collective, "after all_reduce sum Float [4]");
    const auto part = group->split(0, 0);
    part->barrier();
    EXPECT_EQ(mine().calls, 3);
    EXPECT_EQ(mine().collective.find("in barrier, "), 0u);
  });
}

}  // namespace
}  // namespace dagpam::parallel

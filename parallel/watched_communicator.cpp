#include "parallel/watched_communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "parallel/comm_checks.h"
#include "parallel/comm_error.h"
#include "parallel/shared_tensors.h"

namespace dagpam::parallel {
namespace {

// Says what is waited for.
class WatchedWork : public Work {
 public:
  WatchedWork(WorkPtr inner, FlightRecorder* recorder, std::string what)
      : inner_(std::move(inner)), recorder_(recorder), what_(std::move(what)) {}

  void wait() override {
    if (recorder_) recorder_->collective_waits("waits for " + what_);
    inner_->wait();
    if (recorder_) recorder_->collective_waits("after " + what_);
  }
  void make_progress() override { inner_->make_progress(); }
  void keep_moving() override { inner_->keep_moving(); }

 private:
  WorkPtr inner_;
  FlightRecorder* recorder_;
  std::string what_;
};

class WatchedCommunicator : public Communicator, public SharesTensors {
 public:
  WatchedCommunicator(std::shared_ptr<Communicator> inner, const WatchOptions& options)
      : inner_(std::move(inner)), options_(options), name_(inner_->name()) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string name() const override { return name_; }
  at::Device device() const override { return inner_->device(); }
  bool overlaps() const override { return inner_->overlaps(); }

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    count_call(counts_.all_reduce, t);
    const std::string what = begin(std::string("all_reduce ") + name_of(op) + " " + describe(t));
    return watched(inner_->all_reduce_async(t, op), what);
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    count_call(counts_.all_gather, out);
    const std::string what = begin("all_gather " + describe(in));
    return watched(inner_->all_gather_async(out, in), what);
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    count_call(counts_.reduce_scatter, in);
    const std::string what = begin("reduce_scatter " + describe(in));
    return watched(inner_->reduce_scatter_async(out, in), what);
  }

  void broadcast(at::Tensor& t, int root) override {
    count_call(counts_.broadcast, t);
    begin("broadcast from rank " + std::to_string(root) + " " + describe(t));
    inner_->broadcast(t, root);
  }

  at::Tensor shared_zeros(int64_t elements, at::ScalarType type) override {
    begin("memory for tensors");
    auto* const inner = dynamic_cast<SharesTensors*>(inner_.get());
    return inner ? inner->shared_zeros(elements, type) : at::Tensor();
  }

  bool shares_memory() const override { return parallel::shares_memory(*inner_); }

  // Between two ranks alone: recorded, not compared.
  void send(const at::Tensor& t, int to) override {
    count_call(counts_.send, t);
    record("send to rank " + std::to_string(to) + " " + describe(t));
    inner_->send(t, to);
  }

  void recv(at::Tensor& t, int from) override {
    count_call(counts_.recv, t);
    record("recv from rank " + std::to_string(from) + " " + describe(t));
    inner_->recv(t, from);
  }

  void barrier() override {
    ++counts_.barrier.calls;
    begin("barrier");
    inner_->barrier();
  }

  // Inside, no call may be compared: none of them is under way before all are given.
  void together(const std::function<void()>& fn) override {
    begin("a group of calls");
    const bool compare = std::exchange(options_.compare, false);
    inner_->together(fn);
    options_.compare = compare;
  }

  std::unique_ptr<Communicator> split(int colour, int key) override {
    ++counts_.split.calls;
    begin("split");
    return std::make_unique<WatchedCommunicator>(inner_->split(colour, key), options_);
  }

  [[noreturn]] void abort(int exit_code) override {
    inner_->abort(exit_code);
    std::abort();  // not reached
  }

 private:
  void record(const std::string& what) {
    if (options_.recorder) options_.recorder->collective_begins("in " + what + ", " + name_);
  }

  // Returns what it was given.
  std::string begin(std::string what) {
    record(what);
    if (options_.compare) compare("call " + std::to_string(calls_) + ", " + what);
    ++calls_;
    return what;
  }

  WorkPtr watched(WorkPtr work, const std::string& what) const {
    if (!options_.recorder) return work;
    return std::make_shared<WatchedWork>(std::move(work), options_.recorder, what);
  }

  void compare(const std::string& mine) {
    at::Tensor own = at::zeros({1}, at::kLong);
    *own.data_ptr<int64_t>() = static_cast<int64_t>(std::hash<std::string>{}(mine));
    at::Tensor all = at::empty({size()}, at::kLong);
    inner_->all_gather(all, own);
    const auto* hashes = all.data_ptr<int64_t>();
    if (std::all_of(hashes, hashes + size(), [&](int64_t hash) { return hash == hashes[0]; })) {
      return;
    }
    std::string text = "the ranks of '" + name() + "' do not make the same call:";
    int other = 0;
    for (const std::string& theirs : inner_->all_gather_bytes(mine)) {
      text += (other == 0 ? " rank " : "; rank ") + std::to_string(other) + ": " + theirs;
      ++other;
    }
    throw CommError(text);
  }

  std::shared_ptr<Communicator> inner_;
  WatchOptions options_;
  std::string name_;
  int64_t calls_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_watched_communicator(Communicator& inner,
                                                        const WatchOptions& options) {
  const std::shared_ptr<Communicator> not_owned(&inner, [](Communicator*) {});
  return std::make_unique<WatchedCommunicator>(not_owned, options);
}

}  // namespace dagpam::parallel

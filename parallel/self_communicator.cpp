#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "parallel/comm_checks.h"
#include "parallel/communicator.h"

namespace dagpam::parallel {
namespace {

class DoneWork : public Work {
 public:
  void wait() override {}
};

class SelfCommunicator : public Communicator {
 public:
  explicit SelfCommunicator(at::Device device) : device_(device) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string name() const override { return "self"; }
  at::Device device() const override { return device_; }

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp) override {
    check("all_reduce", t);
    if (t.is_cpu()) check_reduced("all_reduce", t);
    count_call(counts_.all_reduce, t);
    return done();
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    check("all_gather", in);
    check_whole_and_part("all_gather", out, in, 1, in.device().type());
    count_call(counts_.all_gather, out);
    copy(out, in);
    return done();
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    check_whole_and_part("reduce_scatter", in, out, 1, in.device().type());
    if (in.is_cpu()) check_reduced("reduce_scatter", in);
    count_call(counts_.reduce_scatter, in);
    copy(out, in);
    return done();
  }

  void broadcast(at::Tensor& t, int root) override {
    check("broadcast", t);
    check_rank("broadcast", root, 1);
    count_call(counts_.broadcast, t);
  }

  void send(const at::Tensor&, int to) override {
    TORCH_CHECK(false, "send to rank ", to, ": a group of one rank has no peer");
  }

  void recv(at::Tensor&, int from) override {
    TORCH_CHECK(false, "recv from rank ", from, ": a group of one rank has no peer");
  }

  void barrier() override { ++counts_.barrier.calls; }

  std::unique_ptr<Communicator> split(int colour, int) override {
    TORCH_CHECK(colour >= 0, "split: colour ", colour, " is negative");
    ++counts_.split.calls;
    return std::make_unique<SelfCommunicator>(device_);
  }

  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  void check(const char* collective, const at::Tensor& t) const {
    check_tensor(collective, t, t.defined() && t.is_cpu() ? at::kCPU : device_.type());
  }

  static WorkPtr done() {
    static const WorkPtr work = std::make_shared<DoneWork>();
    return work;
  }

  static void copy(at::Tensor& out, const at::Tensor& in) {
    const c10::AutoGradMode no_grad(false);
    out.view({-1}).copy_(in.view({-1}));
  }

  at::Device device_;
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator(at::Device device) {
  return std::make_unique<SelfCommunicator>(device);
}

}  // namespace dagpam::parallel

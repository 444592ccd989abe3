#include "parallel/faulty_communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cstdlib>
#include <utility>

namespace dagpam::parallel {
namespace {

constexpr double kWrongScale = 1.001;

// The wrong call itself waits.
class DoneWork : public Work {
 public:
  void wait() override {}
};

class FaultyCommunicator : public Communicator {
 public:
  FaultyCommunicator(std::unique_ptr<Communicator> inner, const CommFault& fault)
      : inner_(std::move(inner)), fault_(fault) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string name() const override { return inner_->name(); }
  at::Device device() const override { return inner_->device(); }
  bool overlaps() const override { return inner_->overlaps(); }

  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    if (!strikes(CommFault::Op::kAllReduce, t)) return inner_->all_reduce_async(t, op);
    const c10::AutoGradMode no_grad(false);
    if (fault_.kind == CommFault::Kind::kScale) t.mul_(kWrongScale);
    if (fault_.kind != CommFault::Kind::kDrop) return inner_->all_reduce_async(t, op);
    dropped_ = t.clone();
    return inner_->all_reduce_async(dropped_, op);
  }

  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    if (!strikes(CommFault::Op::kAllGather, in)) return inner_->all_gather_async(out, in);
    const c10::AutoGradMode no_grad(false);
    const bool scaled = fault_.kind == CommFault::Kind::kScale;
    inner_->all_gather(out, scaled ? in.mul(kWrongScale) : in);
    if (fault_.kind == CommFault::Kind::kRotate) out.copy_(at::roll(out, in.size(0), 0));
    if (fault_.kind == CommFault::Kind::kDrop) {
      out.zero_();
      out.narrow(0, rank() * in.size(0), in.size(0)).copy_(in);
    }
    return std::make_shared<DoneWork>();
  }

  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    if (!strikes(CommFault::Op::kReduceScatter, in)) return inner_->reduce_scatter_async(out, in);
    const c10::AutoGradMode no_grad(false);
    const bool scaled = fault_.kind == CommFault::Kind::kScale;
    inner_->reduce_scatter(out, scaled ? in.mul(kWrongScale) : in);
    if (fault_.kind == CommFault::Kind::kDrop) {
      out.copy_(in.narrow(0, rank() * out.size(0), out.size(0)));
    }
    return std::make_shared<DoneWork>();
  }

  void broadcast(at::Tensor& t, int root) override { inner_->broadcast(t, root); }
  void send(const at::Tensor& t, int to) override { inner_->send(t, to); }
  void recv(at::Tensor& t, int from) override { inner_->recv(t, from); }
  void barrier() override { inner_->barrier(); }
  // One by one: the wrong call waits.
  void together(const std::function<void()>& fn) override { fn(); }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    return inner_->split(colour, key);
  }
  [[noreturn]] void abort(int exit_code) override {
    inner_->abort(exit_code);
    std::abort();  // not reached
  }

 private:
  bool strikes(CommFault::Op op, const at::Tensor& t) {
    return op == fault_.op && t.is_floating_point() && seen_++ == fault_.call;
  }

  std::unique_ptr<Communicator> inner_;
  CommFault fault_;
  int64_t seen_ = 0;
  at::Tensor dropped_;
};

}  // namespace

std::unique_ptr<Communicator> make_faulty_communicator(std::unique_ptr<Communicator> inner,
                                                       const CommFault& fault) {
  return std::make_unique<FaultyCommunicator>(std::move(inner), fault);
}

}  // namespace dagpam::parallel

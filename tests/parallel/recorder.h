// A communicator that tells what it was asked when, and a small model that makes it talk.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/parameter.h"

namespace dagpam::parallel {

// Passes everything on and writes down when all-reduces and gathers start and end.
class Recorder : public Communicator {
 public:
  Recorder(Communicator& inner, std::vector<std::string>& events)
      : inner_(inner), events_(events) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string name() const override { return inner_.name(); }
  WorkPtr all_reduce_async(at::Tensor& t, ReduceOp op) override {
    events_.push_back("start " + std::to_string(t.numel()));
    return std::make_shared<Recorded>(inner_.all_reduce_async(t, op), t.numel(), events_);
  }
  WorkPtr all_gather_async(at::Tensor& out, const at::Tensor& in) override {
    events_.push_back("gather " + std::to_string(in.numel()));
    return std::make_shared<Recorded>(inner_.all_gather_async(out, in), in.numel(), events_);
  }
  WorkPtr reduce_scatter_async(at::Tensor& out, const at::Tensor& in) override {
    return inner_.reduce_scatter_async(out, in);
  }
  void broadcast(at::Tensor& t, int root) override { inner_.broadcast(t, root); }
  void send(const at::Tensor& t, int to) override { inner_.send(t, to); }
  void recv(at::Tensor& t, int from) override { inner_.recv(t, from); }
  void barrier() override { inner_.barrier(); }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    return inner_.split(colour, key);
  }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  class Recorded : public Work {
   public:
    Recorded(WorkPtr work, int64_t n, std::vector<std::string>& events)
        : work_(std::move(work)), n_(n), events_(events) {}
    void wait() override {
      work_->wait();
      events_.push_back("end " + std::to_string(n_));
    }

   private:
    WorkPtr work_;
    int64_t n_;
    std::vector<std::string>& events_;
  };

  Communicator& inner_;
  std::vector<std::string>& events_;
};

// Four layers in a chain, each a bucket of its own (1 to 4 elements): y = x * w0.sum() * ... *
// w3.sum().
inline ParameterList chain(at::ScalarType type = at::kFloat) {
  ParameterList list(0, 1, type);
  for (int64_t layer = 0; layer < 4; ++layer) {
    list.add("w" + std::to_string(layer), {layer + 1}, Init::constant(1));
  }
  list.initialise(1);
  return list;
}

inline at::Tensor loss_of(const ParameterList& list, const at::Tensor& x) {
  at::Tensor y = x;
  for (const ParameterPtr& parameter : list.all()) {
    y = y * parameter->ready().sum();
  }
  return y.sum();
}

}  // namespace dagpam::parallel

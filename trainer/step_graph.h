// trainer/step_graph.h: what a step computes, recorded once and then started as one: a CUDA graph
// (CUDA C++ Programming Guide, CUDA Graphs).
//
// The host starts a step's kernels one by one; where the device is faster than that, it waits. A
// graph takes one start. It repeats kernels with the arguments that they were recorded with, so all
// that a step reads and writes stays where it is, and nothing that differs from step to step may be
// an argument.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace dagpam::trainer {

// One thread calls. Everything runs on a stream of the graph's own, behind what the caller's stream
// holds by then; what the caller's stream gets next waits for it. No call waits for the device, but
// that record() gives the allocator's unused memory back.
class StepGraph {
 public:
  virtual ~StepGraph() = default;
  // As it is, unrecorded: what `work` needs first (tables of the libraries, kernels chosen by
  // measuring) is made in here.
  virtual void run(const std::function<void()>& work) = 0;
  // Records `work`, which computes nothing by it. Once. The tensors that it makes are written anew
  // by each replay. Throws c10::Error where an operator cannot be recorded.
  virtual void record(const std::function<void()>& work) = 0;
  virtual void replay() = 0;
};

// Nothing where `device` has no graphs: a CPU.
std::unique_ptr<StepGraph> make_step_graph(at::Device device);

}  // namespace dagpam::trainer

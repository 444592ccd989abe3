// parallel/reached_hook.h: where a parameter's gradient of a step is summed, and to be told when a
// backward has reached it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "parallel/parameter.h"

namespace dagpam::parallel {

// A place for the sum of a parameter's gradients over a step. A layer's backward may add its
// gradient here itself, in one pass, in place of giving autograd a tensor to add (linear.h,
// embedding.h): it then sets `begun` and gives autograd nothing.
struct GradientSum {
  at::Tensor sum;      // of the parameter's shape and type
  bool begun = false;  // `sum` holds this step's gradient so far; else what it holds is old
};

// That of a parameter, or nullptr: then the gradient goes through autograd.
GradientSum* gradient_sum(const at::Tensor& parameter_value);

// Hooks on parameters, taken away at the end.
class ReachedHooks {
 public:
  ReachedHooks() = default;
  ~ReachedHooks();
  ReachedHooks(const ReachedHooks&) = delete;
  ReachedHooks& operator=(const ReachedHooks&) = delete;

  // Forgets the parameter's gradient and calls `reached` each time from now on, in the thread that
  // runs backward, when a backward has given all of its terms of the parameter's gradient: to
  // autograd, which has accumulated them, or to `sum`, where one is given.
  void add(const ParameterPtr& parameter, std::function<void()> reached,
           GradientSum* sum = nullptr);

 private:
  struct Hooked;
  std::vector<std::shared_ptr<Hooked>> hooked_;
};

}  // namespace dagpam::parallel

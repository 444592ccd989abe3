// parallel/reached_hook.h: to be told when autograd has accumulated into a parameter's gradient.
#pragma once

#include <functional>
#include <vector>

#include "parallel/parameter.h"

namespace dagpam::parallel {

// Hooks on parameters, taken away at the end.
class ReachedHooks {
 public:
  ReachedHooks() = default;
  ~ReachedHooks();
  ReachedHooks(const ReachedHooks&) = delete;
  ReachedHooks& operator=(const ReachedHooks&) = delete;

  // Forgets the parameter's gradient and calls `reached` each time from now on, in the thread that
  // runs backward.
  void add(const ParameterPtr& parameter, std::function<void()> reached);

 private:
  std::vector<ParameterPtr> hooked_;
};

}  // namespace dagpam::parallel

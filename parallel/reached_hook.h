// parallel/reached_hook.h: to be told when autograd has accumulated into a parameter's gradient.
#pragma once

#include <functional>

#include "parallel/parameter.h"

namespace dagpam::parallel {

// Forgets the parameter's gradient and calls `reached` each time from now on, in the thread that
// runs backward; an empty function takes the hook away.
void hook_gradient(const Parameter& parameter, std::function<void()> reached);

}  // namespace dagpam::parallel

// launch/bench/stopwatch.h: the time of work given to a device: on the CPU by the clock, on a GPU
// between two events on its current stream, so that the host's own time is not in it as long as
// work is queued.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace dagpam::launch {

double device_milliseconds(at::Device device, const std::function<void()>& work);

}  // namespace dagpam::launch

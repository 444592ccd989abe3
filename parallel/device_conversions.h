// parallel/device_conversions.h: conversions.h on a GPU.
#pragma once

#include <vector>

#include "parallel/conversions.h"

namespace dagpam::parallel {

// Not none, contiguous, bfloat16 to float32 or back, all on one GPU; a launch for some hundred of
// each. On the current stream, no host wait. Throws c10::Error, always in a build without CUDA.
void device_convert(const std::vector<Conversion>& conversions);

}  // namespace dagpam::parallel

// tests/parallel/run_on_gpu.h: main() of a test that needs a GPU; without one it says so and is
// skipped.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>

#include "parallel/devices.h"

namespace dagpam::parallel {

inline int run_on_gpu(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const Devices& devices = visible_devices();
  if (devices.gpus == 0) {
    std::printf("SKIPPED WHOLE: no GPU: %s\n", devices.why_none.c_str());
    return 0;
  }
  use_device(at::Device(at::kCUDA, 0));
  return RUN_ALL_TESTS();
}

}  // namespace dagpam::parallel

// attention/hopper/backward_instance.cuh: the backward kernel of one type and width.
#pragma once

#include "attention/hopper/backward_kernel.h"
#include "attention/hopper/device_machine.cuh"

namespace dagpam::attention::hopper {

template <class T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const __grid_constant__ BackwardMaps<CUtensorMap> maps,
                    const __grid_constant__ BackwardParams params) {
  BackwardBlock<Device, T, D>(maps, params).run();
}

}  // namespace dagpam::attention::hopper

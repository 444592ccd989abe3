// attention/hopper/forward_instance.cuh: the forward kernel of one type and width.
#pragma once

#include "attention/hopper/device_machine.cuh"
#include "attention/hopper/forward_kernel.h"

namespace dagpam::attention::hopper {

template <class T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardMaps<CUtensorMap> maps,
                   const __grid_constant__ ForwardParams params) {
  ForwardBlock<Device, T, D>(maps, params).run();
}

}  // namespace dagpam::attention::hopper

// attention/hopper/forward_instance.cuh: the forward kernel of one type and width, and its launch.
#pragma once

#include "attention/hopper/cuda_check.h"
#include "attention/hopper/device_machine.cuh"
#include "attention/hopper/forward_kernel.h"
#include "attention/hopper/instances.h"

namespace dagpam::attention::hopper {

template <class T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardMaps<TensorMap> maps,
                   const __grid_constant__ ForwardParams params) {
  ForwardBlock<Device, T, D>(maps, params).run();
}

template <class T, int D>
void launch_forward(const ForwardLaunch& launch) {
  constexpr int kBytes = static_cast<int>(ForwardShared<D>::kBytes) + kSharedSlack;
  static_assert(kBytes <= kSharedLimit);
  DAGPAM_HOPPER_CHECK(cudaFuncSetAttribute(&forward_kernel<T, D>,
                                           cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const ForwardParams& p = launch.params;
  const auto grid = static_cast<unsigned>(p.blocks);
  forward_kernel<T, D>
      <<<grid, kThreads, kBytes, static_cast<cudaStream_t>(launch.stream)>>>(launch.maps, p);
  DAGPAM_HOPPER_CHECK(cudaGetLastError());
}

}  // namespace dagpam::attention::hopper

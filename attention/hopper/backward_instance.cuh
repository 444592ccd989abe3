// attention/hopper/backward_instance.cuh: backward's kernels of one type and width, and their
// launches.
#pragma once

#include "attention/hopper/backward_kernel.h"
#include "attention/hopper/cuda_check.h"
#include "attention/hopper/device_machine.cuh"
#include "attention/hopper/instances.h"
#include "attention/hopper/side_kernels.h"

namespace dagpam::attention::hopper {

template <class T, int D>
__global__ void __launch_bounds__(kRowsThreads)
    rows_kernel(const __grid_constant__ RowsParams params) {
  prepare_rows<Device, T, D>(params);
}

template <class T, int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const __grid_constant__ BackwardMaps<TensorMap> maps,
                    const __grid_constant__ BackwardParams params) {
  BackwardBlock<Device, T, D>(maps, params).run();
}

template <class T, int D>
__global__ void __launch_bounds__(FinishShared<D>::kThreads)
    finish_kernel(const __grid_constant__ FinishMaps<TensorMap> maps,
                  const __grid_constant__ FinishParams params) {
  FinishBlock<Device, T, D>(maps, params).run();
}

template <class T, int D>
void launch_backward(const BackwardLaunch& launch) {
  constexpr int kMainBytes = static_cast<int>(BackwardShared<D>::kBytes) + kSharedSlack;
  constexpr int kFinishBytes = static_cast<int>(FinishShared<D>::kBytes) + kSharedSlack;
  static_assert(kMainBytes <= kSharedLimit && kFinishBytes <= kSharedLimit);
  DAGPAM_HOPPER_CHECK(cudaFuncSetAttribute(
      &backward_kernel<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, kMainBytes));
  DAGPAM_HOPPER_CHECK(cudaFuncSetAttribute(
      &finish_kernel<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, kFinishBytes));
  const auto stream = static_cast<cudaStream_t>(launch.stream);
  const auto count = [](int64_t n) { return static_cast<unsigned>(n); };
  const BackwardParams& p = launch.main;
  const dim3 by_queries(count(tiles(p.sight.queries, kQueryTile)), count(p.heads), count(p.batch));
  const dim3 by_keys(count(tiles(p.sight.keys, kKeyTile)), count(p.kv_heads), count(p.batch));
  rows_kernel<T, D><<<by_queries, kRowsThreads, 0, stream>>>(launch.rows);
  DAGPAM_HOPPER_CHECK(cudaGetLastError());
  backward_kernel<T, D><<<by_keys, kThreads, kMainBytes, stream>>>(launch.maps, p);
  DAGPAM_HOPPER_CHECK(cudaGetLastError());
  const dim3 by_runs(count(finish_runs(p.sight.queries)), count(p.heads), count(p.batch));
  finish_kernel<T, D><<<by_runs, FinishShared<D>::kThreads, kFinishBytes, stream>>>(
      launch.finish_maps, launch.finish);
  DAGPAM_HOPPER_CHECK(cudaGetLastError());
}

}  // namespace dagpam::attention::hopper

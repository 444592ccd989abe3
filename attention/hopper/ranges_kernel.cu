#include "attention/hopper/cuda_check.h"
#include "attention/hopper/device_machine.cuh"
#include "attention/hopper/instances.h"
#include "attention/hopper/side_kernels.h"

namespace dagpam::attention::hopper {
namespace {

__global__ void __launch_bounds__(kRangesThreads)
    ranges_kernel(const __grid_constant__ RangesParams params) {
  find_ranges<Device>(params);
}

}  // namespace

void launch_ranges(const RangesParams& params, void* stream) {
  const int64_t count = params.batches * tiles(params.sight.queries, kQueryTile);
  ranges_kernel<<<static_cast<unsigned>(tiles(count, kRangesThreads)), kRangesThreads, 0,
                  static_cast<cudaStream_t>(stream)>>>(params);
  DAGPAM_HOPPER_CHECK(cudaGetLastError());
}

}  // namespace dagpam::attention::hopper

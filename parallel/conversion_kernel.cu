#include <cuda_runtime.h>

#include "parallel/conversion_kernel.h"

namespace dagpam::parallel {
namespace {

constexpr int kThreads = 256;

template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    conversion_kernel(const __grid_constant__ ConversionCall<From, To> call) {
  const auto block = static_cast<int32_t>(blockIdx.x);
  convert_part(call.pieces[conversion_of(call, block)], block, threadIdx.x, kThreads);
}

template <class From, class To>
int launch(const ConversionCall<From, To>& call, int32_t blocks, void* stream) {
  static_assert(sizeof(call) <= 4096, "what a launch may carry");
  if (blocks == 0) return cudaSuccess;
  conversion_kernel<<<static_cast<unsigned>(blocks), kThreads, 0,
                      static_cast<cudaStream_t>(stream)>>>(call);
  return cudaGetLastError();
}

}  // namespace

int launch_conversions(const ConversionCall<rows::Bf16, float>& call, int32_t blocks,
                       void* stream) {
  return launch(call, blocks, stream);
}

int launch_conversions(const ConversionCall<float, rows::Bf16>& call, int32_t blocks,
                       void* stream) {
  return launch(call, blocks, stream);
}

}  // namespace dagpam::parallel

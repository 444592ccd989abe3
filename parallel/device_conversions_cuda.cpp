// device_conversions.h with CUDA in the build.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include "parallel/conversion_kernel.h"
#include "parallel/device_conversions.h"

namespace dagpam::parallel {
namespace {

// Those of one pair of types.
template <class From, class To>
class Launches {
 public:
  explicit Launches(void* stream) : stream_(stream) {}

  void add(const Conversion& one) {
    const ConversionPiece<From, To> piece{static_cast<const From*>(one.from.const_data_ptr()),
                                          static_cast<To*>(one.to.mutable_data_ptr()),
                                          one.to.numel(),
                                          0,
                                          one.add,
                                          false};
    if (add_conversion(call_, piece, blocks_)) return;
    launch();
    TORCH_CHECK(add_conversion(call_, piece, blocks_), "a conversion of ", one.to.numel(),
                " elements");
  }

  void launch() {
    const int result = launch_conversions(call_, blocks_, stream_);
    TORCH_CHECK(result == cudaSuccess,
                "conversion kernel: ", cudaGetErrorString(static_cast<cudaError_t>(result)));
    call_.count = blocks_ = 0;
  }

 private:
  void* stream_;
  ConversionCall<From, To> call_;
  int32_t blocks_ = 0;
};

}  // namespace

void device_convert(const std::vector<Conversion>& conversions) {
  const c10::Device device = conversions.front().to.device();
  const c10::cuda::CUDAGuard guard(device);
  void* const stream = c10::cuda::getCurrentCUDAStream(device.index()).stream();
  Launches<rows::Bf16, float> widened(stream);
  Launches<float, rows::Bf16> rounded(stream);
  for (const Conversion& one : conversions) {
    one.to.scalar_type() == at::kFloat ? widened.add(one) : rounded.add(one);
  }
  widened.launch();
  rounded.launch();
}

}  // namespace dagpam::parallel

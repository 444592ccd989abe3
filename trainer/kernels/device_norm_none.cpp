// device_norm.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "trainer/kernels/device_norm.h"

namespace dagpam::trainer::kernels {

bool has_device_norm(int64_t) { return false; }

void device_norm(const DeviceNorm& call) {
  TORCH_CHECK(false, "norm on ", call.x.device(), ": the program was built without CUDA");
}

void device_norm_gradient(const DeviceNormGradient& call) {
  TORCH_CHECK(false, "norm on ", call.dy.device(), ": the program was built without CUDA");
}

}  // namespace dagpam::trainer::kernels

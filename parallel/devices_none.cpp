// devices.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "parallel/devices.h"

namespace dagpam::parallel {

const Devices& visible_devices() {
  static const Devices none{0, "the program was built without CUDA"};
  return none;
}

CudaVersions cuda_versions() { return {}; }

void use_device(at::Device device) {
  TORCH_CHECK(!device.is_cuda(), device, ": the program was built without CUDA");
}

std::string device_name(at::Device device) { return device.is_cpu() ? "CPU" : device.str(); }

void wait_for_device(at::Device) {}

double peak_device_bytes(at::Device) { return 0; }

}  // namespace dagpam::parallel

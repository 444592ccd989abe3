// devices.h with CUDA in the build.
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <cstdlib>

#include "parallel/devices.h"

// Calls the runtime and throws c10::Error with the expression and the runtime's text.
#define DAGPAM_CUDA(expression) check_cuda((expression), #expression)

namespace dagpam::parallel {
namespace {

void check_cuda(cudaError_t result, const char* expression) {
  TORCH_CHECK(result == cudaSuccess, expression, ": ", cudaGetErrorString(result));
}

Devices look() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaSuccess && count > 0) return {count, ""};
  cudaGetLastError();
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) return {0, "no NVIDIA driver"};
  return {0, result == cudaSuccess ? "no GPU is visible" : cudaGetErrorString(result)};
}

}  // namespace

const Devices& visible_devices() {
  static const Devices devices = look();
  return devices;
}

CudaVersions cuda_versions() {
  CudaVersions versions;
  if (cudaRuntimeGetVersion(&versions.runtime) != cudaSuccess) versions.runtime = 0;
  if (cudaDriverGetVersion(&versions.driver) != cudaSuccess) versions.driver = 0;
  return versions;
}

void use_device(at::Device device) {
  if (!device.is_cuda()) return;
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  DAGPAM_CUDA(cudaSetDevice(device.index()));
  at::globalContext().lazyInitDevice(at::kCUDA);
}

std::string device_name(at::Device device) {
  if (!device.is_cuda()) return device.is_cpu() ? "CPU" : device.str();
  cudaDeviceProp properties;
  DAGPAM_CUDA(cudaGetDeviceProperties(&properties, device.index()));
  return properties.name;
}

void wait_for_device(at::Device device) {
  if (device.is_cuda()) DAGPAM_CUDA(cudaDeviceSynchronize());
}

double peak_device_bytes(at::Device device) {
  if (!device.is_cuda()) return 0;
  const auto statistics = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
  return static_cast<double>(statistics.allocated_bytes[0].peak);
}

}  // namespace dagpam::parallel

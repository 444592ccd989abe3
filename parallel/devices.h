// parallel/devices.h: the GPUs of this process. Without CUDA in the build, or without a driver or a
// GPU, there are none, and nothing here fails.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace dagpam::parallel {

struct Devices {
  int gpus = 0;
  std::string why_none;  // of 0: "built without CUDA", or the driver's words
};
const Devices& visible_devices();

// As CUDA counts them (13000 is 13.0): of the runtime, and the newest that the driver serves. 0
// where there is none.
struct CudaVersions {
  int runtime = 0, driver = 0;
};
CudaVersions cuda_versions();

// Makes `device` the one that this thread computes on, before its first use, with what repeatable
// results need of the libraries (CUBLAS_WORKSPACE_CONFIG, where the environment does not set it).
// CPU: does nothing.
void use_device(at::Device device);

std::string device_name(at::Device device);  // e.g. "NVIDIA H100 80GB HBM3", "CPU"

// Waits until the device has done all that it was given. For timings; not in the step's path.
void wait_for_device(at::Device device);

// Most bytes of tensors that the process has held on the device at once; 0 for the CPU.
double peak_device_bytes(at::Device device);

}  // namespace dagpam::parallel

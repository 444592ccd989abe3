// device_activation.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "trainer/kernels/device_activation.h"

namespace dagpam::trainer::kernels {

bool has_device_activation() { return false; }

void device_activation(const ActivationInput&, const at::Tensor& a) {
  TORCH_CHECK(false, "activation on ", a.device(), ": the program was built without CUDA");
}

void device_activation_gradient(const ActivationInput&, const at::Tensor& a, const at::Tensor&,
                                const at::Tensor&, at::Tensor&, at::Tensor&) {
  TORCH_CHECK(false, "activation on ", a.device(), ": the program was built without CUDA");
}

}  // namespace dagpam::trainer::kernels

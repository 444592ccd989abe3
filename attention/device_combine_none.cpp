// device_combine.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "attention/device_combine.h"

namespace dagpam::attention {

at::Tensor device_combine(const CombineShape&, const at::Tensor& both, const at::Tensor&,
                          const at::Tensor&) {
  TORCH_CHECK(false, "attention on ", both.device(), ": the program was built without CUDA");
}

at::Tensor device_combine_backward(const CombineShape&, const at::Tensor& both, const at::Tensor&,
                                   const at::Tensor&, const at::Tensor&, at::Tensor&) {
  TORCH_CHECK(false, "attention on ", both.device(), ": the program was built without CUDA");
}

}  // namespace dagpam::attention

// device_dropout.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "parallel/device_dropout.h"

namespace dagpam::parallel {

void apply_device_dropout(DropoutMask, const DropoutKey&, const at::Tensor&, const at::Tensor&,
                          at::Tensor& y) {
  TORCH_CHECK(false, "dropout of a tensor on ", y.device(), ": the program was built without CUDA");
}

}  // namespace dagpam::parallel

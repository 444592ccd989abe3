// device_column_sum.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "parallel/device_column_sum.h"

namespace dagpam::parallel {

bool has_device_column_sum(const at::Tensor&) { return false; }

void device_column_sum(const at::Tensor& x, bool, const at::Tensor&) {
  TORCH_CHECK(false, "column sums on ", x.device(), ": the program was built without CUDA");
}

}  // namespace dagpam::parallel

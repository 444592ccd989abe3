// device_conversions.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "parallel/device_conversions.h"

namespace dagpam::parallel {

void device_convert(const std::vector<Conversion>&) {
  TORCH_CHECK(false, "conversions on a GPU: the program was built without CUDA");
}

}  // namespace dagpam::parallel

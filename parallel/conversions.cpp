#include "parallel/conversions.h"

#include <c10/core/GradMode.h>

#include "parallel/device_conversions.h"

namespace dagpam::parallel {

bool converts_together(const at::Tensor& from, const at::Tensor& to) {
  const auto pair = [&](at::ScalarType a, at::ScalarType b) {
    return from.scalar_type() == a && to.scalar_type() == b;
  };
  return from.is_cuda() && to.is_cuda() && from.is_contiguous() && to.is_contiguous() &&
         (pair(at::kBFloat16, at::kFloat) || pair(at::kFloat, at::kBFloat16));
}

void convert(const std::vector<Conversion>& conversions) {
  const c10::AutoGradMode no_grad(false);
  std::vector<Conversion> together;
  for (const Conversion& one : conversions) {
    if (converts_together(one.from, one.to)) {
      together.push_back(one);
    } else {
      one.add ? one.to.add_(one.from) : one.to.copy_(one.from);
    }
  }
  if (!together.empty()) device_convert(together);
}

}  // namespace dagpam::parallel

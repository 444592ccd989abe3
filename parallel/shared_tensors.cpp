#include "parallel/shared_tensors.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

namespace dagpam::parallel {

bool shares_memory(const Communicator& group) {
  const auto* const shares = dynamic_cast<const SharesTensors*>(&group);
  return shares != nullptr && shares->shares_memory();
}

at::Tensor zeros_to_sum(Communicator& group, int64_t elements, at::ScalarType type) {
  auto* const shares = dynamic_cast<SharesTensors*>(&group);
  if (shares != nullptr && group.device().is_cpu()) {
    const at::Tensor t = shares->shared_zeros(elements, type);
    if (t.defined()) return t;
  }
  return at::zeros({elements}, at::TensorOptions(type).device(group.device()));
}

}  // namespace dagpam::parallel

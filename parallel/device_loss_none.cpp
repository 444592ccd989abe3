// device_loss.h in a build without CUDA.
#include <c10/util/Exception.h>

#include "parallel/device_loss.h"

namespace dagpam::parallel {
namespace {

[[noreturn]] void refuse(const at::Tensor& logits) {
  TORCH_CHECK(false, "loss of logits on ", logits.device(), ": the program was built without CUDA");
}

}  // namespace

void device_loss_sums(const LossProblem&, const at::Tensor& logits) { refuse(logits); }
void device_loss_gradient(const LossProblem&, const at::Tensor& logits) { refuse(logits); }
void device_loss_rebase(const LossProblem&, const at::Tensor& all) { refuse(all); }

}  // namespace dagpam::parallel

// COG: Cog attention (Lv et al. 2024, "More Expressive Attention with Negative Weights", arXiv
// 2411.07176): A = sign(s) softmax(|s|), s = Q K^T / sqrt D, over the visible keys. Absolute
// weights of a row sum to 1. The sign has no gradient. A model's first and last layer stay SOFTMAX:
// whoever makes the layers sees to that.
#include <ATen/TensorOperators.h>

#include "attention/reference.h"
#include "attention/variant.h"

namespace dagpam::attention {
namespace {

at::Tensor weights(const Scores& scores) {
  const at::Tensor s = scores.scaled();
  return s.detach().sign() * reference::visible_softmax(s.abs(), scores.visible);
}

}  // namespace

std::unique_ptr<Attention> make_cog(const Options& options) {
  return make_weighted(options, {}, weights);
}

}  // namespace dagpam::attention

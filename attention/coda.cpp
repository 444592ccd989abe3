// CODA: compositional de-attention (Tay et al. 2019, "Compositional De-Attention Networks"):
//   A = tanh(Q K^T / sqrt D) 2 sigmoid(-|q - k|_1 / sqrt D),
// a sign and size between -1 and 1, gated by how alike query and key are. No softmax: row sums are
// free.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>

#include <cmath>

#include "attention/variant.h"

namespace dagpam::attention {
namespace {

at::Tensor weights(const Scores& scores) {
  const double scale = 1 / std::sqrt(static_cast<double>(scores.q.size(-1)));
  const at::Tensor distance = at::cdist(scores.q.contiguous(), scores.k.contiguous(), 1);
  return at::tanh(scores.scaled()) * at::sigmoid(distance * -scale) * 2;
}

}  // namespace

std::unique_ptr<Attention> make_coda(const Options& options) {
  return make_weighted(options, {}, weights);
}

}  // namespace dagpam::attention

// NON: no normalisation (Richter and Wattenhofer 2020, "Normalized Attention Without Probability
// Cage", arXiv 2005.09561): A = Q K^T / sqrt D on the visible keys. Divided by the square root of
// their number, so that answers keep their size along the row: that is ours.
#include <ATen/TensorOperators.h>

#include "attention/variant.h"

namespace dagpam::attention {
namespace {

at::Tensor weights(const Scores& scores) { return scores.scaled() / scores.visible_count().sqrt(); }

}  // namespace

std::unique_ptr<Attention> make_non(const Options& options) {
  return make_weighted(options, {}, weights);
}

}  // namespace dagpam::attention

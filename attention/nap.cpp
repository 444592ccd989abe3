// NAP: normalised attention pooling (Richter and Wattenhofer 2020, "Normalized Attention Without
// Probability Cage", arXiv 2005.09561): scores u = Q K^T, normed over the visible keys of a row,
//   A = gain (u - mean u) / (std u + 1e-3) + bias,
// gain and bias one number a head, at first 1 and 0. A row of equal scores has deviation 0, with
// gradient 0.
#include <ATen/TensorOperators.h>

#include "attention/variant.h"

namespace dagpam::attention {
namespace {

constexpr double kEpsilon = 1e-3;

at::Tensor weights(const Scores& scores) {
  const at::Tensor u = scores.products(), seen = scores.visible.to(u.scalar_type());
  const at::Tensor count = scores.visible_count();
  const at::Tensor mean = (u * seen).sum(-1, /*keepdim=*/true) / count;  // [B, H, N, 1]
  const at::Tensor centred = (u - mean) * seen;
  const at::Tensor variance = (centred * centred).sum(-1, /*keepdim=*/true) / count;
  const at::Tensor flat = variance.eq(0);
  const at::Tensor deviation = variance.masked_fill(flat, 1).sqrt().masked_fill(flat, 0);
  const at::Tensor gain = scores.own[0].view({-1, 1, 1}), bias = scores.own[1].view({-1, 1, 1});
  return gain * centred / (deviation + kEpsilon) + bias;
}

}  // namespace

std::unique_ptr<Attention> make_nap(const Options& options, const std::string& prefix,
                                    parallel::ParameterList& parameters) {
  const int64_t heads = options.heads * parameters.tp_size();
  return make_weighted(
      options,
      {parameters.add(prefix + "gain", {heads}, parallel::Init::constant(1), {.cut_dim = 0}),
       parameters.add(prefix + "bias", {heads}, parallel::Init::constant(0), {.cut_dim = 0})},
      weights);
}

}  // namespace dagpam::attention

#include "trainer/model/layers.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>

#include <cmath>
#include <memory>

namespace dagpam::trainer {

using configs::ModelConfig;
using parallel::Init;

double residual_deviation(const ModelConfig& model) {
  return kWeightDeviation / std::sqrt(2.0 * static_cast<double>(model.layers()));
}

Norm::Norm(const ModelConfig& model, const std::string& prefix, parallel::ParameterList& parameters,
           const TensorParallel& tp)
    : width_(model.width()), eps_(model.norm_eps()), rms_(model.norm() == ModelConfig::RMS) {
  const parallel::ParameterOptions spread{.partial_gradient = tp.sequence};
  weight_ = parameters.add(prefix + "weight", {width_}, Init::constant(1), spread);
  if (model.bias() && !rms_) {
    bias_ = parameters.add(prefix + "bias", {width_}, Init::constant(0), spread);
  }
}

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (rms_) return at::rms_norm(x, {width_}, weight_->ready(), eps_);
  return at::layer_norm(x, {width_}, weight_->ready(), bias_ ? bias_->ready() : at::Tensor(), eps_);
}

Mlp::Mlp(const ModelConfig& model, const std::string& prefix, parallel::ParameterList& parameters,
         const TensorParallel& tp)
    : kind_(model.mlp()),
      tp_(&tp.group),
      up_({model.width(), model.mlp_width(), model.bias(), kWeightDeviation}, prefix + "up.",
          parameters),
      down_({model.mlp_width(), model.width(), model.bias(), residual_deviation(model)},
            prefix + "down.", parameters, tp.group, tp.sequence) {
  if (kind_ == ModelConfig::SWIGLU) {
    gate_ = std::make_unique<parallel::ColumnLinear>(
        parallel::LinearOptions{model.width(), model.mlp_width(), model.bias(), kWeightDeviation},
        prefix + "gate.", parameters);
  }
}

at::Tensor Mlp::forward(const at::Tensor& x, parallel::Stream stream) const {
  const at::Tensor entered = parallel::enter_cut_layer(x, *tp_, stream);  // [B, T, C]
  at::Tensor hidden = up_.forward(entered);                               // [B, T, mlp_width / P]
  switch (kind_) {
    case ModelConfig::RELU:
      hidden = at::relu(hidden);
      break;
    case ModelConfig::GELU:
      hidden = at::gelu(hidden);
      break;
    case ModelConfig::SWIGLU:
      hidden = at::mul(at::silu(gate_->forward(entered)), hidden);
      break;
  }
  return down_.forward(hidden, stream);
}

}  // namespace dagpam::trainer

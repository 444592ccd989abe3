#include "trainer/model/layers.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
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

Linear::Linear(const Options& options, const std::string& prefix,
               parallel::ParameterList& parameters)
    : weight_(parameters.add(prefix + "weight", {options.out, options.in},
                             Init::normal(options.deviation))) {
  if (options.bias) bias_ = parameters.add(prefix + "bias", {options.out}, Init::constant(0));
}

at::Tensor Linear::forward(const at::Tensor& x) const {
  return at::linear(x, weight_->value, bias_ ? bias_->value : at::Tensor());
}

Norm::Norm(const ModelConfig& model, const std::string& prefix, parallel::ParameterList& parameters)
    : width_(model.width()),
      eps_(model.norm_eps()),
      rms_(model.norm() == ModelConfig::RMS),
      weight_(parameters.add(prefix + "weight", {model.width()}, Init::constant(1))) {
  if (model.bias() && !rms_) {
    bias_ = parameters.add(prefix + "bias", {model.width()}, Init::constant(0));
  }
}

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (rms_) return at::rms_norm(x, {width_}, weight_->value, eps_);
  return at::layer_norm(x, {width_}, weight_->value, bias_ ? bias_->value : at::Tensor(), eps_);
}

Mlp::Mlp(const ModelConfig& model, const std::string& prefix, parallel::ParameterList& parameters)
    : kind_(model.mlp()),
      up_({model.width(), model.mlp_width(), model.bias()}, prefix + "up.", parameters),
      down_({model.mlp_width(), model.width(), model.bias(), residual_deviation(model)},
            prefix + "down.", parameters) {
  if (kind_ == ModelConfig::SWIGLU) {
    gate_ =
        std::make_unique<Linear>(Linear::Options{model.width(), model.mlp_width(), model.bias()},
                                 prefix + "gate.", parameters);
  }
}

at::Tensor Mlp::forward(const at::Tensor& x) const {
  at::Tensor hidden = up_.forward(x);  // [B, T, mlp_width]
  switch (kind_) {
    case ModelConfig::RELU:
      hidden = at::relu(hidden);
      break;
    case ModelConfig::GELU:
      hidden = at::gelu(hidden);
      break;
    case ModelConfig::SWIGLU:
      hidden = at::mul(at::silu(gate_->forward(x)), hidden);
      break;
  }
  return down_.forward(hidden);
}

}  // namespace dagpam::trainer

#include "trainer/model/layers.h"

#include <cmath>
#include <memory>

#include "parallel/linear.h"
#include "trainer/kernels/fused_mlp.h"
#include "trainer/kernels/fused_norm.h"

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
  return kernels::norm(x, weight_->ready(), bias_ ? bias_->ready() : at::Tensor(), {eps_, rms_});
}

std::pair<at::Tensor, at::Tensor> Norm::forward_sum(const at::Tensor& x,
                                                    const at::Tensor& y) const {
  return kernels::add_norm(x, y, weight_->ready(), bias_ ? bias_->ready() : at::Tensor(),
                           {eps_, rms_});
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
  kernels::ActivationInput in;
  in.kind = kind_ == ModelConfig::RELU        ? kernels::Activation::kRelu
            : kind_ == ModelConfig::GELU      ? kernels::Activation::kGelu
            : kind_ == ModelConfig::GELU_TANH ? kernels::Activation::kGeluTanh
                                              : kernels::Activation::kSwiglu;
  // Where the activation adds the biases on its way the products need not.
  const bool fused = kernels::fuses_activation(entered);
  const auto raised = [&](const parallel::ColumnLinear& layer, at::Tensor& bias) {
    if (!fused) return layer.forward(entered);
    if (layer.bias() != nullptr) bias = layer.bias()->ready();
    return parallel::linear(entered, layer.weight(), nullptr);
  };
  in.h = raised(up_, in.bias);  // [B, T, mlp_width / P]
  if (gate_) in.gate = raised(*gate_, in.gate_bias);
  const bool alone = tp_->size() == 1;
  const at::Tensor product =
      kernels::activated_product(in, down_.weight(), alone ? down_.bias() : nullptr);
  return alone ? product : down_.left(product, stream);
}

}  // namespace dagpam::trainer

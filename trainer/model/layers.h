// trainer/model/layers.h: the small parts of a block. Each declares its parameters in a list that
// the model owns, and starts them as GPT-2 does (Radford et al. 2019): weights normal of deviation
// 0.02, projections into the residual stream of deviation 0.02 / sqrt(2 L), norms 1, biases 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "configs/run.pb.h"
#include "parallel/parameter.h"

namespace dagpam::trainer {

inline constexpr double kWeightDeviation = 0.02;

// y = x W^T + b.  x [..., In] -> [..., Out]; W [Out, In], b [Out] or none.
class Linear {
 public:
  struct Options {
    int64_t in = 0, out = 0;
    bool bias = true;
    double deviation = kWeightDeviation;
  };
  Linear(const Options& options, const std::string& prefix, parallel::ParameterList& parameters);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  parallel::ParameterPtr weight_, bias_;
};

// Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019) over the last dimension.
class Norm {
 public:
  Norm(const configs::ModelConfig& model, const std::string& prefix,
       parallel::ParameterList& parameters);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  int64_t width_;
  double eps_;
  bool rms_;
  parallel::ParameterPtr weight_, bias_;
};

// down(act(up(x))), or down(silu(gate(x)) * up(x)) for SWIGLU (Shazeer 2020).
class Mlp {
 public:
  Mlp(const configs::ModelConfig& model, const std::string& prefix,
      parallel::ParameterList& parameters);
  at::Tensor forward(const at::Tensor& x) const;  // [B, T, C] -> [B, T, C]

 private:
  configs::ModelConfig::Mlp kind_;
  Linear up_;
  Linear down_;
  std::unique_ptr<Linear> gate_;
};

// Deviation of projections whose output is added to the residual stream.
double residual_deviation(const configs::ModelConfig& model);

}  // namespace dagpam::trainer

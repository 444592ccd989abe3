// trainer/model/layers.h: the small parts of a block. Each declares its parameters in a list that
// the model owns, and starts them as GPT-2 does (Radford et al. 2019): weights normal of deviation
// 0.02, projections into the residual stream of deviation 0.02 / sqrt(2 L), norms 1, biases 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "configs/run.pb.h"
#include "parallel/communicator.h"
#include "parallel/parameter.h"
#include "parallel/tp_layers.h"

namespace dagpam::trainer {

inline constexpr double kWeightDeviation = 0.02;

// The tensor-parallel group that shares a copy of the model.
struct TensorParallel {
  parallel::Communicator& group;
  // Between the cut layers a rank holds its own tokens of the residual stream alone, wherever their
  // number divides (Korthikanti et al. 2022).
  bool sequence = false;
};

// Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019) over the last dimension.
class Norm {
 public:
  Norm(const configs::ModelConfig& model, const std::string& prefix,
       parallel::ParameterList& parameters, const TensorParallel& tp);
  at::Tensor forward(const at::Tensor& x) const;
  // {x + y, its norm}
  std::pair<at::Tensor, at::Tensor> forward_sum(const at::Tensor& x, const at::Tensor& y) const;

 private:
  int64_t width_;
  double eps_;
  bool rms_;
  parallel::ParameterPtr weight_, bias_;
};

// down(act(up(x))), or down(silu(gate(x)) * up(x)) for SWIGLU (Shazeer 2020). The hidden channels
// are cut over the tensor-parallel group.
class Mlp {
 public:
  Mlp(const configs::ModelConfig& model, const std::string& prefix,
      parallel::ParameterList& parameters, const TensorParallel& tp);
  at::Tensor forward(const at::Tensor& x, parallel::Stream stream) const;  // [B, T, C], same out

 private:
  configs::ModelConfig::Mlp kind_;
  parallel::Communicator* tp_;
  parallel::ColumnLinear up_;
  parallel::RowLinear down_;
  std::unique_ptr<parallel::ColumnLinear> gate_;
};

// Deviation of projections whose output is added to the residual stream.
double residual_deviation(const configs::ModelConfig& model);

}  // namespace dagpam::trainer

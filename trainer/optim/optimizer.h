// trainer/optim/optimizer.h: AdamW and SGD, as LibTorch's fused kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "parallel/gradient_reducer.h"

namespace dagpam::trainer {

// A tensor of optimizer state that belongs to this rank's rows of a parameter, e.g. "exp_avg" of
// "norm.weight".
struct StateTensor {
  std::string kind;
  parallel::ParameterPtr parameter;
  int64_t first_row = 0;
  at::Tensor value;  // shape of the slice
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // One update at this rate. Every gradient is divided by `divisor` (a scalar tensor) on the way;
  // where `found_inf` (a scalar tensor, 0 or 1) is 1 nothing changes. No host wait.
  virtual void step(double rate, const at::Tensor& divisor, const at::Tensor& found_inf) = 0;

  // The state to save and load. Loading copies into `value`; then set_steps().
  virtual std::vector<StateTensor> state() const = 0;
  virtual void set_steps(int64_t steps) = 0;  // updates done so far
};

// AdamW (Loshchilov and Hutter 2019) or SGD with momentum. Only parameters marked `decay` are
// decayed. Updates the slices' values from their gradients, which it may scale in place.
std::unique_ptr<Optimizer> make_optimizer(const configs::OptimizerConfig& config,
                                          const std::vector<parallel::ParameterSlice>& slices);

}  // namespace dagpam::trainer

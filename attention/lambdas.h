// attention/lambdas.h: the scalars l+ and l- of daGPAM, fixed or trained, by model, layer or head.
#pragma once

#include <cstdint>
#include <string>

#include "attention/attention.h"

namespace dagpam::attention {

// Names of trained ones in checkpoints: MODELplus, or BEFORE, the layer's number, AFTERplus.
struct LambdaNames {
  std::string model = "lambda_", before = "layers.", after = ".attention.lambda_";
};

struct LambdaOptions {
  enum class Scope { kModel, kLayer, kHead };
  enum class Squash { kNone, kSigmoid, kSoftplus };
  bool trained = true;
  double plus = 1, minus = 1;  // fixed values, or where training starts (after squashing)
  Scope scope = Scope::kHead;
  Squash squash = Squash::kNone;
  LambdaNames names = {};
};

// Owns the lambdas of a stack of layers. Trained ones are parameters, as a rule named
// "lambda_plus", "lambda_minus" [1] (MODEL scope) or "layers.N.attention.lambda_plus" [1] or [H];
// never weight-decayed. Those of heads are cut with the heads; shared ones are replicated over a
// tensor-parallel group, which sums their gradients.
class LambdaBank {
 public:
  // Declares the parameters of `layers` layers of `heads` heads on this rank each. Throws
  // c10::Error where a start value is outside the squashing function's range.
  LambdaBank(const LambdaOptions& options, int64_t layers, int64_t heads,
             parallel::ParameterList& parameters);

  // Fixed ones to `device`; trained ones are parameters.
  void move_to(at::Device device);

  Lambdas layer(int64_t index) const;  // [1] or [H], squashed, with gradient where trained

 private:
  LambdaOptions options_;
  std::vector<parallel::ParameterPtr> plus_,
      minus_;  // one (MODEL) or one a layer; empty when fixed
  Lambdas fixed_;
};

}  // namespace dagpam::attention

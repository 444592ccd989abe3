#include "attention/lambdas.h"

#include <ATen/ops/full.h>
#include <ATen/ops/softplus.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace dagpam::attention {
namespace {

using Squash = LambdaOptions::Squash;
using Scope = LambdaOptions::Scope;

// The free real that `squash` takes to `value`.
double unsquashed(Squash squash, double value, const char* name) {
  switch (squash) {
    case Squash::kNone:
      TORCH_CHECK(std::isfinite(value), "lambda.", name, " starts at ", value,
                  ", expected a finite number");
      return value;
    case Squash::kSigmoid:
      TORCH_CHECK(value > 0 && value < 1, "lambda.", name, " starts at ", value,
                  ", expected a number between 0 and 1, the range of SIGMOID");
      return std::log(value) - std::log1p(-value);
    case Squash::kSoftplus:
      TORCH_CHECK(value > 0 && std::isfinite(value), "lambda.", name, " starts at ", value,
                  ", expected a number above 0, the range of SOFTPLUS");
      return value + std::log(-std::expm1(-value));
  }
  TORCH_CHECK(false, "unknown squash ", static_cast<int>(squash));
}

at::Tensor squashed(Squash squash, const at::Tensor& x) {
  switch (squash) {
    case Squash::kNone:
      return x;
    case Squash::kSigmoid:
      return x.sigmoid();
    case Squash::kSoftplus:
      return at::softplus(x);
  }
  TORCH_CHECK(false, "unknown squash ", static_cast<int>(squash));
}

}  // namespace

LambdaBank::LambdaBank(const LambdaOptions& options, int64_t layers, int64_t heads,
                       parallel::ParameterList& parameters)
    : options_(options) {
  if (!options.trained) {
    TORCH_CHECK(std::isfinite(options.plus) && std::isfinite(options.minus), "lambdas are ",
                options.plus, " and ", options.minus, ", expected finite numbers");
    fixed_ = {at::full({1}, options.plus, at::kFloat), at::full({1}, options.minus, at::kFloat)};
    return;
  }
  const auto plus = parallel::Init::constant(unsquashed(options.squash, options.plus, "plus"));
  const auto minus = parallel::Init::constant(unsquashed(options.squash, options.minus, "minus"));
  const bool one = options.scope == Scope::kModel;
  const bool by_head = options.scope == Scope::kHead;
  const int64_t size = by_head ? heads * parameters.tp_size() : 1;
  // A rank sees only its own heads' part of the gradient of a scalar that all heads share.
  const parallel::ParameterOptions spread{
      .cut_dim = by_head ? 0 : -1, .partial_gradient = !by_head, .decay = false};
  for (int64_t layer = 0; layer < (one ? 1 : layers); ++layer) {
    const LambdaNames& names = options.names;
    const std::string prefix =
        one ? names.model : names.before + std::to_string(layer) + names.after;
    plus_.push_back(parameters.add(prefix + "plus", {size}, plus, spread));
    minus_.push_back(parameters.add(prefix + "minus", {size}, minus, spread));
  }
}

void LambdaBank::move_to(at::Device device) {
  if (!options_.trained) fixed_ = {fixed_.plus.to(device), fixed_.minus.to(device)};
}

Lambdas LambdaBank::layer(int64_t index) const {
  if (!options_.trained) return fixed_;
  const size_t at = options_.scope == Scope::kModel ? 0 : static_cast<size_t>(index);
  return {squashed(options_.squash, plus_.at(at)->ready()),
          squashed(options_.squash, minus_.at(at)->ready())};
}

}  // namespace dagpam::attention

#include "trainer/update_bound.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace dagpam::trainer {

namespace {

// Units in the last place that one update may round a parameter by, in both copies together.
constexpr double kUnits = 2;

// How far m and sqrt(v) together move for a difference of 1 in all gradients that count: 1 each at
// the first step, somewhat more later, where several steps' differences add up.
constexpr double kSensitivity = 4;

// The largest |m / sqrt(v)| that any gradients give: by the inequality of Cauchy and Schwarz the
// root of sum a^2 / b, a and b the weights of the two averages.
double largest_update(double beta1, double beta2) {
  const double shrink = beta1 * beta1 / beta2;
  if (!(shrink < 1) || !(beta2 < 1)) return std::numeric_limits<double>::max();
  return std::max(1.0, (1 - beta1) / std::sqrt((1 - beta2) * (1 - shrink)));
}

}  // namespace

UpdateBound::UpdateBound(const configs::OptimizerConfig& config, const at::Tensor& like)
    : config_(config),
      allowed_(at::zeros(like.sizes(), at::TensorOptions(like.device()).dtype(at::kDouble))) {}

void UpdateBound::add_update(int64_t step, double rate, double difference, const at::Tensor& value,
                             const at::Tensor& second) {
  allowed_.add_(value.detach().abs(), kUnits * std::numeric_limits<float>::epsilon());
  if (config_.kind() == configs::OptimizerConfig::SGD) {
    recent_ = config_.momentum() * recent_ + difference;
    allowed_.add_(rate * recent_);
    return;
  }
  const double beta1 = config_.betas(0), beta2 = config_.betas(1);
  recent_ = std::max(std::sqrt(beta2) * recent_, difference);
  const double correction = 1 - std::pow(beta2, static_cast<double>(step));
  const at::Tensor root = second.to(at::kDouble).div(correction).sqrt_().add_(config_.eps());
  const double most = 2 * largest_update(beta1, beta2);
  allowed_.add_(root.reciprocal_().mul_(kSensitivity * recent_).clamp_max_(most), rate);
}

}  // namespace dagpam::trainer

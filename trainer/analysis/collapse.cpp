#include "trainer/analysis/collapse.h"

#include <ATen/TensorOperators.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <limits>

namespace dagpam::trainer {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double norm_1inf(const at::Tensor& x) {  // [T, C]
  const at::Tensor size = x.abs();
  return std::sqrt(size.sum(0).max().item<double>() * size.sum(1).max().item<double>());
}

double ratio(double part, double whole) { return whole == 0 ? 0 : part / whole; }

// By |sum u|^2 = sum |u|^2 + the products of distinct pairs: no T x T matrix.
double mean_cosine(const at::Tensor& x) {
  const auto tokens = static_cast<double>(x.size(0));
  if (tokens < 2) return kNone;
  const at::Tensor size = x.norm(2, {1}, /*keepdim=*/true);  // [T, 1]
  const at::Tensor unit = x / size.masked_fill(size.eq(0), 1);
  const double all = unit.sum(0).square().sum().item<double>();
  const double own = unit.square().sum().item<double>();
  return (all - own) / (tokens * (tokens - 1));
}

}  // namespace

Collapse collapse_of(const at::Tensor& x) {
  TORCH_CHECK(x.dim() == 2 && x.size(0) > 0, "states are ", x.sizes(), ", expected [T, C]");
  const at::Tensor wide = x.detach().to(at::kDouble);
  const at::Tensor left = wide - wide.mean(0, /*keepdim=*/true);
  return {.ratio_1inf = ratio(norm_1inf(left), norm_1inf(wide)),
          .ratio_fro = ratio(left.norm().item<double>(), wide.norm().item<double>()),
          .cosine = mean_cosine(wide)};
}

Spread spread_of(const std::vector<double>& numbers) {
  const auto count = static_cast<double>(numbers.size());
  double sum = 0, squares = 0;
  for (const double x : numbers) sum += x;
  const double mean = sum / count;
  for (const double x : numbers) squares += (x - mean) * (x - mean);
  return {mean, numbers.size() < 2 ? kNone : std::sqrt(squares / (count - 1))};
}

}  // namespace dagpam::trainer

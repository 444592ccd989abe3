#include "trainer/analysis/map_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/xlogy.h>

#include <algorithm>
#include <limits>

namespace dagpam::trainer {

void MapSummary::add(const at::Tensor& weights, const at::Tensor& visible, int64_t first_row) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const int64_t rows = weights.size(2) - first_row;
  if (rows <= 0) return;
  const at::Tensor a = weights.narrow(2, first_row, rows).to(at::kDouble);  // [B, H, R, M]
  const at::Tensor seen = visible.narrow(2, first_row, rows).expand(a.sizes());
  const at::Tensor hidden = seen.logical_not();
  const at::Tensor sums = a.sum(-1);  // [B, H, R]
  const at::Tensor size = a.abs(), mass = size.sum(-1, /*keepdim=*/true);
  const at::Tensor share = size / mass.masked_fill(mass.eq(0), 1);
  const at::Tensor keys = seen.sum(-1).clamp_min(1).to(at::kDouble);  // [B, H, R]

  const bool first = empty();
  const auto least = [first](double old, double now) { return first ? now : std::min(old, now); };
  const auto most = [first](double old, double now) { return first ? now : std::max(old, now); };
  min_ = least(min_, a.masked_fill(hidden, kInfinite).min().item<double>());
  max_ = most(max_, a.masked_fill(hidden, -kInfinite).max().item<double>());
  row_min_ = least(row_min_, sums.min().item<double>());
  row_max_ = most(row_max_, sums.max().item<double>());
  sum_ += sums.sum().item<double>();
  entropy_ -= at::xlogy(share, share).sum().item<double>();
  uniform_ += keys.log().sum().item<double>();
  rows_ += sums.numel();
  weights_ += seen.sum().item<int64_t>();
  negative_ += a.lt(0).logical_and(seen).sum().item<int64_t>();
}

MapStatistics MapSummary::statistics() const {
  const auto rows = static_cast<double>(std::max<int64_t>(rows_, 1));
  const auto weights = static_cast<double>(std::max<int64_t>(weights_, 1));
  return {.min = min_,
          .max = max_,
          .row_sum_mean = sum_ / rows,
          .row_sum_min = row_min_,
          .row_sum_max = row_max_,
          .entropy = entropy_ / rows,
          .entropy_uniform = uniform_ / rows,
          .negative_share = static_cast<double>(negative_) / weights};
}

}  // namespace dagpam::trainer

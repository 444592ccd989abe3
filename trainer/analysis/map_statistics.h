// trainer/analysis/map_statistics.h: what the attention weights of a layer are like, over all heads
// and the queries of many sequences.
//
// Legend: B batch, H heads, N queries, M keys.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace dagpam::trainer {

// Of the weights of keys that a query sees.
struct MapStatistics {
  double min = 0, max = 0;
  double row_sum_mean = 0, row_sum_min = 0, row_sum_max = 0;
  double entropy = 0;          // nats, of |A| / sum |A| of a row; mean over rows
  double entropy_uniform = 0;  // nats: the largest that it could be, log of the visible keys; mean
  double negative_share = 0;   // weights below 0 / all
};

class MapSummary {
 public:
  // weights [B, H, N, M], 0 where `visible` [B or 1, 1, N, M] is false. Queries before `first_row`
  // are left out. Sums in float64.
  void add(const at::Tensor& weights, const at::Tensor& visible, int64_t first_row);

  bool empty() const { return rows_ == 0; }
  MapStatistics statistics() const;

 private:
  double min_ = 0, max_ = 0, row_min_ = 0, row_max_ = 0;
  double sum_ = 0, entropy_ = 0, uniform_ = 0;
  int64_t rows_ = 0, weights_ = 0, negative_ = 0;
};

}  // namespace dagpam::trainer

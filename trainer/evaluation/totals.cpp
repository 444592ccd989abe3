#include "trainer/evaluation/totals.h"

#include <ATen/ops/empty.h>

#include <cstdio>

#include "trainer/telemetry/log.h"

namespace dagpam::trainer {

Evaluation mean_over_ranks(const at::Tensor& nll, int64_t tokens, parallel::Communicator& group) {
  at::Tensor sums = at::empty({2}, at::kDouble);  // nll, tokens
  auto* sum = sums.data_ptr<double>();
  sum[0] = nll.item<double>();
  sum[1] = static_cast<double>(tokens);
  group.all_reduce(sums);
  return {.tokens = static_cast<int64_t>(sum[1]), .nll = sum[0] / sum[1]};
}

void show_evaluated(int64_t done, int64_t all) {
  char line[64];
  std::snprintf(line, sizeof line, "evaluating %3.0f %%",
                100.0 * static_cast<double>(done) / static_cast<double>(all));
  show_progress(line);
}

}  // namespace dagpam::trainer

// Ten lines that use the attention of an installed dagpam.
#include <ATen/ops/full.h>

#include <cstdio>

#include "attention/attention.h"

int main() {
  dagpam::parallel::ParameterList parameters;
  const auto layer = dagpam::attention::make_attention({.heads = 2, .kv_heads = 2, .head_width = 4},
                                                       "", parameters, {});
  const at::Tensor x = at::full({1, 3, 2, 4}, 0.5);  // [B, N, H, D]
  std::printf("%g\n", layer->forward({x, x, x, {}}).sum().item<double>());
}

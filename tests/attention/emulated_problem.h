// tests/attention/emulated_problem.h: a random attention in 16-bit numbers, and its answer by the
// fused kernels' source on the emulated machine. Knows no torch.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attention/hopper/model.h"

namespace dagpam::attention::testing {

struct EmulatedShape {
  std::string name;
  int64_t batch = 1, queries = 64, keys = 64, heads = 1, kv_heads = 1, width = 64;
  bool causal = true, intervals = false;  // intervals: random ones, rows without keys among them
  int64_t window = 0;  // of intervals: only so many keys up to a query's own place
  bool forms_q_neg = true;
  double plus = 0.7, minus = 0.9, deviation = 1;
};

struct EmulatedProblem {
  EmulatedShape shape;
  bool bf16 = true;
  std::vector<float> q, k, v, w_neg, dy, plus, minus;  // rounded
  std::vector<float> q_neg;                            // where it is given
  std::vector<int32_t> first, last;                    // [B, N]

  EmulatedProblem(const EmulatedShape& shape, bool bf16, uint64_t seed);
  hopper::ModelProblem model() const;
};

// As the model's answers, of the emulated kernels.
hopper::ModelAnswer emulated_forward(const EmulatedProblem& problem, uint64_t seed);
hopper::ModelGradients emulated_backward(const EmulatedProblem& problem,
                                         const hopper::ModelAnswer& answer, bool deterministic,
                                         uint64_t seed);

}  // namespace dagpam::attention::testing

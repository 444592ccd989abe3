// tests/attention/hopper_cases.h: the problems that the fused kernel, its model and the emulated
// kernel are held to, and their answers by the model.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <string>
#include <vector>

#include "attention/hopper/model.h"
#include "support.h"

namespace dagpam::attention::testing {

struct NamedCase {
  std::string name;
  Case problem;  // float64, DAGPAM
};

// Random, large-score and adversarial problems of one head width: lengths off the tiles, padding,
// cross lengths, shared key heads, one visible key, rows without any, equal keys, lambdas at the
// ends, long rows.
std::vector<NamedCase> hopper_cases(int64_t width, uint64_t seed);

hopper::Rounding rounding_of(at::ScalarType type);

// The model's answer; `problem` is of a 16-bit type or float32.
struct ModelRun {
  Outcome outcome;  // y and gradients as solve() gives them
  hopper::ModelAnswer answer;
  hopper::ModelGradients gradients;
};
ModelRun run_model(const Case& problem);

}  // namespace dagpam::attention::testing

// tests/attention/support.h: random attention problems, and their answers by either path.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <ostream>
#include <string>

#include "attention/attention.h"

namespace dagpam::attention::testing {

inline constexpr Kind kAllKinds[] = {Kind::kSoftmax, Kind::kSoftmaxWide, Kind::kDagpam,
                                     Kind::kNon,     Kind::kNap,         Kind::kCoda,
                                     Kind::kCog,     Kind::kDiff,        Kind::kDiff2};

struct Shape {
  int64_t batch = 2, queries = 5, keys = 5, heads = 2, kv_heads = 2, width = 8;
};

struct Case {
  Options options;
  at::Tensor q, k, v, dy;         // [B, N, H, D], [B, M, Hkv, D] twice, [B, N, H, D]
  at::Tensor w_neg, plus, minus;  // [H, D, D], [H] or [1]; used by the kinds that have them
  at::Tensor gain, bias;          // [H], NAP's
  at::Tensor gate;                // [B, N, H], DIFF2's, whose q is [B, N, 2 H, D]
  std::map<std::string, at::Tensor> diff;  // DIFF's parameters, by name
  Visibility visibility;
  std::optional<Rotary> rotary;
  std::optional<WeightDropout> dropout;
};

// Standard normal tensors in float64, causal, lambdas [H] between 0.3 and 1.2. DIFF, which pairs
// key-value heads, gets twice an odd number of them.
Case random_case(Kind kind, const Shape& shape, uint64_t seed);

// Standard normal numbers in float64, the same for the same seed.
at::Tensor normal(at::IntArrayRef sizes, uint64_t seed);

// Intervals of random begin and end, a quarter of the rows empty.
Visibility random_intervals(int64_t batch, int64_t queries, int64_t keys, bool causal,
                            uint64_t seed);

// Rotary tables of positions 0, 1, ... [N, D / 2] in float64.
Rotary rotary_table(int64_t queries, int64_t width);

// Puts the case's numbers into a layer's parameters, without lambdas.
void give_parameters(const Case& problem, parallel::ParameterList& parameters);

// The same problem in another type.
Case as_type(const Case& problem, at::ScalarType type);

// y and the gradient of sum(y * dy) by "q", "k", "v", "w_neg", "lambda_plus", "lambda_minus",
// "gain", "bias", "gate", "lq1", "lk1", "lq2", "lk2", "norm" (those that the kind has).
struct Outcome {
  at::Tensor y;
  std::map<std::string, at::Tensor> grad;
};
enum class Path { kReference, kFast };
Outcome solve(const Case& problem, Path path);

// max |a - b| / max |b|, or max |a| where b is 0 everywhere; infinite for other shapes, undefined
// tensors or NaN in either.
double difference(const at::Tensor& a, const at::Tensor& b);

bool bit_equal(const at::Tensor& a, const at::Tensor& b);

inline std::ostream& operator<<(std::ostream& out, Path path) {
  return out << (path == Path::kFast ? "fast" : "reference");
}

}  // namespace dagpam::attention::testing

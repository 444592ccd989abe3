// trainer/parameter_counts.h: how many numbers a model has, and what its training costs, from the
// config alone.
#pragma once

#include <cstdint>

#include "configs/run.pb.h"

namespace dagpam::trainer {

// The attention of layer `index` of a stack of `layers`: the config's, but COG leaves the first and
// the last layer SOFTMAX.
configs::AttentionConfig::Kind layer_attention(const configs::AttentionConfig& attention,
                                               int64_t index, int64_t layers);

// Whether a layer has `w_neg`.
bool has_query_map(configs::AttentionConfig::Kind kind);

// Elements of all parameters, and of those that take part in matrix products (the output projection
// too).
struct ParameterCounts {
  int64_t all = 0, in_matmuls = 0;
};
ParameterCounts count_parameters(const configs::RunConfig& config);

// Elements of the parameters that one rank of a tensor-parallel group of `tp` holds, padding of the
// vocabulary included.
int64_t rank_elements(const configs::RunConfig& config, int tp);

// Numbers that the optimizer keeps beside each parameter: two of AdamW, one of SGD with momentum.
int optimizer_moments(const configs::OptimizerConfig& optimizer);

// Floating point operations a token, forward and backward, causal, minimal algebra:
// 6 N_matmul + 6 L C T for one softmax, + 4 L C T more for the second of daGPAM and DIFF2, + 6 L C
// D for the [H, D, D] maps (docs/performance.md derives it); of the other kinds their matrix
// products, which are those of one softmax. Of an encoder-decoder a pair of a source and a target
// token, and the products with parameters alone: sentences are short.
double flops_per_token(const configs::RunConfig& config);

}  // namespace dagpam::trainer

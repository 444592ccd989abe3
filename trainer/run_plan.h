// trainer/run_plan.h: what a run will be, worked out from its config, its data and the number of
// ranks before anything is written or computed.
#pragma once

#include <cstdint>
#include <string>

#include "configs/run.pb.h"
#include "data/batch_source.h"
#include "data/sidecar.h"

namespace dagpam::trainer {

struct RunPlan {
  configs::RunConfig config;  // every field set, those too that data and ranks decide
  data::Sidecar data;         // of the first training source (they share tokenizer and vocabulary)
  int64_t steps = 0;          // of the whole run
  int64_t tokens_per_step = 0;
  int64_t train_tokens = 0;  // over all sources
  int ranks = 1;
  int copies = 1;       // of the model: data-parallel; each is shared by ranks / copies
  bool on_gpu = false;  // set by whoever has the communicator: attention keeps other tensors there
};

// Validates, fills in, opens every data set that the config names. Throws ConfigError or DataError.
RunPlan plan_run(const configs::RunConfig& config, int ranks);

// How copy `copy` of the plan's model copies takes its part of the data.
data::BatchOptions batch_options(const RunPlan& plan, int copy);

// The attention of layer `index`: the config's, but COG leaves the first and the last layer
// SOFTMAX.
configs::AttentionConfig::Kind layer_attention(const configs::ModelConfig& model,
                                               const configs::AttentionConfig& attention,
                                               int64_t index);

// Whether a layer has `w_neg`.
bool has_query_map(configs::AttentionConfig::Kind kind);

// Of a layer's attention, of so many heads and key-value heads: rows of what is projected from the
// layer's input (queries, keys, values, gates), and elements of the parameters that are no
// projections, lambdas of DAGPAM left out.
int64_t projected_rows(configs::AttentionConfig::Kind kind, int64_t heads, int64_t kv_heads,
                       int64_t head_width);
int64_t own_elements(configs::AttentionConfig::Kind kind, int64_t heads, int64_t head_width);

// Elements of all parameters, and of those that take part in matrix products (the output projection
// too).
struct ParameterCounts {
  int64_t all = 0, in_matmuls = 0;
};
ParameterCounts count_parameters(const configs::RunConfig& config);

// Floating point operations a token, forward and backward, causal, minimal algebra:
// 6 N_matmul + 6 L C T for one softmax, + 4 L C T more for the second of daGPAM, + 6 L C D for the
// [H, D, D] maps (docs/performance.md derives it). DIFF2 has two maps too; of the others their
// matrix products, which are those of one softmax.
double flops_per_token(const configs::RunConfig& config);

// The lines that `train --dry-run` prints, and the head of a run's log.
std::string describe(const RunPlan& plan);

}  // namespace dagpam::trainer

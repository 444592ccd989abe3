// trainer/analysis/analysis.h: what a model makes of some sequences, layer by layer: collapse of
// its states, attention weights, lambdas, gradients of the query weights (docs/analysis.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/run.pb.h"
#include "trainer/analysis/collapse.h"
#include "trainer/analysis/map_statistics.h"
#include "trainer/evaluation/windows.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

struct AnalysisOptions {
  bool include_first = true;  // position 0 of each sequence: its state, and its row of weights
  BlockParts parts = BlockParts::kWhole;
  bool causal = true;
};

struct CollapseSpread {
  Spread ratio_1inf, ratio_fro, cosine;  // over sequences
};

struct LayerAnalysis {
  CollapseSpread stream;                          // after the block
  CollapseSpread attention_output;                // before it is added to the stream
  MapStatistics weights;                          // A of Y = A V
  std::optional<MapStatistics> plus, minus;       // of kinds with two maps
  std::vector<double> lambda_plus, lambda_minus;  // one a head, or one of the layer; DAGPAM
  double query_gradient = 0;                      // Frobenius norm
  std::optional<double> w_neg_gradient;           // where there is w_neg
};

struct Analysis {
  int64_t sequences = 0, tokens = 0;  // tokens a sequence
  AnalysisOptions options;
  double nll = 0;             // nats a token
  CollapseSpread embeddings;  // what enters the first block
  std::vector<LayerAnalysis> layers;
};

// Sequences of `length` tokens from each of `starts` on. `model` is whole on this rank, float32 or
// float64, with the shape and attention of its config; its weights and their gradients stay as they
// are. Gradients are those of the mean loss a token over the sequences, without dropout and label
// smoothing. One sequence is computed at a time, and attention by its plain path: H x N x N numbers
// a map.
Analysis analyze(const TransformerLm& model, WindowReader& reader,
                 const std::vector<int64_t>& starts, int64_t length,
                 const AnalysisOptions& options);

// Starts of `count` sequences of `length` tokens and a target each, evenly over a split of `tokens`
// tokens without overlap. Empty where they do not fit.
std::vector<int64_t> spread_starts(int64_t tokens, int64_t count, int64_t length);

// A language model of the same weights in another type, on `tp`'s device. `model` is whole on this
// rank.
std::unique_ptr<TransformerLm> copy_model(const Model& model,
                                          const configs::AttentionConfig& attention,
                                          parallel::Communicator& tp, at::ScalarType type);

}  // namespace dagpam::trainer

// trainer/evaluation/evaluator.h: mean loss of a model over a split of a data set.
#pragma once

#include <cstdint>
#include <functional>

#include "data/indexed_dataset.h"
#include "parallel/communicator.h"
#include "trainer/model/model.h"

namespace dagpam::trainer {

struct EvaluationOptions {
  int64_t context = 0;      // tokens a window, at most the model's
  int64_t stride = 0;       // tokens between the starts of windows, in [1, context]
  int64_t batch = 1;        // windows computed at once
  int64_t max_batches = 0;  // of a rank; 0: all
  bool reset_positions = false, reset_attention = false;  // as in DataConfig
  bool progress = false;  // show it where standard error is a terminal
  // Asked after each batch, as often on every rank; true on all ranks alike ends the evaluation.
  std::function<bool()> give_up = {};
};

struct Evaluation {
  int64_t tokens = 0;     // predicted: all but the split's first, or fewer with max_batches
  double nll = 0;         // nats a token
  bool given_up = false;  // the rest means nothing
  double perplexity() const;
};

// Every token but the first is predicted exactly once: windows start at multiples of `stride`, the
// first one counts all its tokens, later ones only those that no earlier window counted, so with
// stride < context each has at least context - stride tokens before it. Windows are shared out over
// the ranks of `group`, the data-parallel one where copies of the model are shared, whose device
// the model is on; all call and get the same result, up to the rounding of a float64 sum.
Evaluation evaluate(const Model& model, const data::TokenDataset& data,
                    const EvaluationOptions& options, parallel::Communicator& group);

}  // namespace dagpam::trainer

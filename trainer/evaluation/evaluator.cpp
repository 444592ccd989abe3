#include "trainer/evaluation/evaluator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "trainer/evaluation/totals.h"
#include "trainer/evaluation/windows.h"

namespace dagpam::trainer {

namespace {

struct Window {
  int64_t start = 0;       // of its first input
  int64_t length = 0;      // inputs
  int64_t score_from = 0;  // first target that counts, in [0, length)
};

// Window `index` of a split with `targets` = tokens - 1.
Window window_at(int64_t index, int64_t targets, const EvaluationOptions& options) {
  Window window;
  window.start = index * options.stride;
  window.length = std::min(options.context, targets - window.start);
  window.score_from = index == 0 ? 0 : options.context - options.stride;
  return window;
}

int64_t window_count(int64_t targets, const EvaluationOptions& options) {
  if (targets <= options.context) return 1;
  return 1 + (targets - options.context + options.stride - 1) / options.stride;
}

// A rank's windows: those of a batch have one length and one score_from.
std::vector<std::vector<Window>> batches_of(int64_t rank, int64_t ranks, int64_t windows,
                                            int64_t targets, const EvaluationOptions& options) {
  std::vector<std::vector<Window>> batches;
  const int64_t end = windows * (rank + 1) / ranks;
  for (int64_t next = windows * rank / ranks; next < end; ++next) {
    const Window window = window_at(next, targets, options);
    const bool fits = !batches.empty() &&
                      static_cast<int64_t>(batches.back().size()) < options.batch &&
                      window.length == batches.back().front().length &&
                      window.score_from == batches.back().front().score_from;
    if (!fits) {
      if (static_cast<int64_t>(batches.size()) == options.max_batches && options.max_batches > 0) {
        break;
      }
      batches.emplace_back();
    }
    batches.back().push_back(window);
  }
  return batches;
}

// Windows of equal length and score_from. Returns the sum of their nll in nats: a float64 scalar on
// the device, which the host does not wait for.
at::Tensor score(const Model& model, WindowReader& reader, const std::vector<Window>& windows) {
  std::vector<int64_t> starts;
  for (const Window& window : windows) starts.push_back(window.start);
  const auto [input, targets] = reader.read(starts, windows.front().length);
  const at::Tensor nll = model.losses(input, targets, windows.front().score_from);  // [B, scored]
  return nll.sum(at::kDouble);
}

}  // namespace

double Evaluation::perplexity() const { return std::exp(nll); }

Evaluation evaluate(const Model& model, const data::TokenDataset& data,
                    const EvaluationOptions& options, parallel::Communicator& group) {
  const at::NoGradGuard no_grad;
  const int64_t targets = data.tokens() - 1;
  TORCH_CHECK(targets >= 1, data.path(), ": ", data.tokens(), " tokens: nothing to predict");
  TORCH_CHECK(options.stride >= 1 && options.stride <= options.context && options.batch >= 1,
              "evaluation of stride ", options.stride, ", context ", options.context, ", batch ",
              options.batch);
  const int64_t windows = window_count(targets, options), ranks = group.size();
  const auto batches = batches_of(group.rank(), ranks, windows, targets, options);
  size_t rounds = 0;  // of the rank that has most
  for (int rank = 0; options.give_up && rank < group.size(); ++rank) {
    rounds = std::max(rounds, batches_of(rank, ranks, windows, targets, options).size());
  }

  WindowReader reader(data,
                      {model.config().vocab(), options.reset_positions, options.reset_attention},
                      group.device());
  at::Tensor nll = at::zeros({}, at::TensorOptions(at::kDouble).device(group.device()));
  int64_t tokens = 0;
  for (size_t i = 0; i < std::max(rounds, batches.size()); ++i) {
    if (i < batches.size()) {
      const std::vector<Window>& batch = batches[i];
      nll.add_(score(model, reader, batch));
      tokens +=
          static_cast<int64_t>(batch.size()) * (batch.front().length - batch.front().score_from);
    }
    if (options.give_up && options.give_up()) return {.given_up = true};
    if (options.progress && i < batches.size()) {
      show_evaluated(static_cast<int64_t>(i) + 1, std::ssize(batches));
    }
  }
  return mean_over_ranks(nll, tokens, group);
}

}  // namespace dagpam::trainer

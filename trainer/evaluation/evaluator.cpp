#include "trainer/evaluation/evaluator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "trainer/telemetry/log.h"

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

class Scorer {
 public:
  Scorer(const Model& model, const data::TokenDataset& data, const EvaluationOptions& options,
         at::Device device)
      : model_(model),
        data_(data),
        options_(options),
        device_(device),
        starts_(data.document_starts()) {}

  // Windows of equal length and score_from. Returns the sum of their nll in nats: a float64 scalar
  // on the device, which the host does not wait for.
  at::Tensor score(const std::vector<Window>& windows) {
    const auto rows = static_cast<int64_t>(windows.size());
    const int64_t length = windows.front().length, from = windows.front().score_from;
    tokens_.resize(static_cast<size_t>(rows * (length + 1)));
    positions_.clear();
    key_begin_.clear();
    for (int64_t row = 0; row < rows; ++row) {
      const Window& window = windows[static_cast<size_t>(row)];
      const std::span<int64_t> out(tokens_.data() + row * (length + 1),
                                   static_cast<size_t>(length + 1));
      data_.read(window.start, out, model_.config().vocab());
      mark_documents(window);
    }
    const at::Tensor all =
        at::from_blob(tokens_.data(), {rows, length + 1}, at::kLong).to(device_);  // [B, N + 1]
    ForwardInput input;
    input.tokens = all.narrow(1, 0, length);  // [B, N]
    if (options_.reset_positions) {
      input.positions = at::from_blob(positions_.data(), {rows, length}, at::kLong).to(device_);
    }
    if (options_.reset_attention) {
      input.key_begin = at::from_blob(key_begin_.data(), {rows, length}, at::kInt).to(device_);
    }
    const at::Tensor nll = model_.losses(input, all.narrow(1, 1, length), from);  // [B, scored]
    return nll.sum(at::kDouble);
  }

 private:
  // Positions and first visible keys of a window's tokens, from the documents they stand in.
  void mark_documents(const Window& window) {
    if (!options_.reset_positions && !options_.reset_attention) return;
    for (int64_t i = 0; i < window.length; ++i) {
      const auto after = std::upper_bound(starts_.begin(), starts_.end(), window.start + i);
      const int64_t begin = std::max<int64_t>(*(after - 1) - window.start, 0);
      positions_.push_back(i - begin);
      key_begin_.push_back(static_cast<int32_t>(begin));
    }
  }

  const Model& model_;
  const data::TokenDataset& data_;
  const EvaluationOptions& options_;
  at::Device device_;
  std::span<const int64_t> starts_;
  std::vector<int64_t> tokens_, positions_;
  std::vector<int32_t> key_begin_;
};

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

  Scorer scorer(model, data, options, group.device());
  at::Tensor nll = at::zeros({}, at::TensorOptions(at::kDouble).device(group.device()));
  int64_t tokens = 0;
  for (size_t i = 0; i < std::max(rounds, batches.size()); ++i) {
    if (i < batches.size()) {
      const std::vector<Window>& batch = batches[i];
      nll.add_(scorer.score(batch));
      tokens +=
          static_cast<int64_t>(batch.size()) * (batch.front().length - batch.front().score_from);
    }
    if (options.give_up && options.give_up()) return {.given_up = true};
    if (options.progress && i < batches.size()) {
      char line[64];
      std::snprintf(line, sizeof line, "evaluating %3.0f %%",
                    100.0 * static_cast<double>(i + 1) / static_cast<double>(batches.size()));
      show_progress(line);
    }
  }
  at::Tensor sums = at::empty({2}, at::kDouble);  // nll, tokens
  auto* sum = sums.data_ptr<double>();
  sum[0] = nll.item<double>();
  sum[1] = static_cast<double>(tokens);
  group.all_reduce(sums);
  return {.tokens = static_cast<int64_t>(sum[1]), .nll = sum[0] / sum[1]};
}

}  // namespace dagpam::trainer

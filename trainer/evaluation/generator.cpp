#include "trainer/evaluation/generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parallel/random.h"

namespace dagpam::trainer {

namespace {

// Uniform in (0, 1), a function of seed and draw.
double uniform(uint64_t seed, int64_t draw) {
  const auto words = parallel::philox4x32(
      {static_cast<uint32_t>(draw), static_cast<uint32_t>(draw >> 32), 0, 0}, seed);
  const uint64_t bits = (uint64_t{words[0]} << 21) ^ (words[1] >> 11);  // 53 bits
  return (static_cast<double>(bits) + 0.5) * 0x1.0p-53;
}

// Logits [1, V] of the last of `tokens`, which extend what the caches hold.
at::Tensor last_logits(const TransformerLm& model, const std::vector<int32_t>& tokens,
                       std::vector<attention::KeyValueCache>& caches) {
  const auto count = static_cast<int64_t>(tokens.size());
  ForwardInput input;
  input.tokens = at::empty({1, count}, at::kLong);  // [1, N]
  std::copy(tokens.begin(), tokens.end(), input.tokens.data_ptr<int64_t>());
  input.tokens = input.tokens.to(model.parameters().all().front()->value.device());
  input.caches = &caches;
  return model.logits(model.hidden(input).narrow(1, count - 1, 1)).view({1, -1}).cpu();
}

}  // namespace

int64_t sample_token(const at::Tensor& logits, const SamplingOptions& options, int64_t draw) {
  const int64_t vocab =
      options.vocab > 0 ? std::min(options.vocab, logits.numel()) : logits.numel();
  const auto* score = logits.data_ptr<float>();
  std::vector<int64_t> order(static_cast<size_t>(vocab));
  std::iota(order.begin(), order.end(), 0);
  // Ties go to the smaller id, so that greedy text does not depend on the sort.
  const auto likelier = [&](int64_t a, int64_t b) {
    return score[a] > score[b] || (score[a] == score[b] && a < b);
  };
  if (options.temperature == 0) return *std::min_element(order.begin(), order.end(), likelier);

  std::sort(order.begin(), order.end(), likelier);
  if (options.top_k > 0 && options.top_k < vocab) order.resize(static_cast<size_t>(options.top_k));
  std::vector<double> weight;
  weight.reserve(order.size());
  double total = 0;
  for (const int64_t id : order) {
    weight.push_back(
        std::exp((score[id] - static_cast<double>(score[order[0]])) / options.temperature));
    total += weight.back();
  }
  size_t kept = 0;
  double mass = 0;
  while (kept < weight.size() && (kept == 0 || mass < options.top_p * total))
    mass += weight[kept++];
  double left = uniform(options.seed, draw) * mass;
  for (size_t i = 0; i < kept; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

std::vector<int32_t> generate(const TransformerLm& model, const std::vector<int32_t>& prompt,
                              const SamplingOptions& options,
                              const std::function<void(int32_t)>& on_token) {
  TORCH_CHECK(!prompt.empty(), "generation needs a prompt of at least one token");
  const at::NoGradGuard no_grad;
  const auto context = static_cast<size_t>(model.config().context());
  const auto last = [](const std::vector<int32_t>& text, size_t count) {
    return std::vector<int32_t>(text.end() - static_cast<std::ptrdiff_t>(count), text.end());
  };
  std::vector<int32_t> text = prompt, fresh = last(text, std::min(text.size(), context));
  auto caches = model.make_caches();
  for (int64_t draw = 0; draw < options.max_tokens; ++draw) {
    if (static_cast<size_t>(caches.front().length) + fresh.size() > context) {
      caches = model.make_caches();
      fresh = last(text, std::max<size_t>(context / 2, 1));
    }
    const at::Tensor logits = last_logits(model, fresh, caches);
    const auto token = static_cast<int32_t>(sample_token(logits, options, draw));
    text.push_back(token);
    fresh.assign(1, token);
    if (on_token) on_token(token);
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

}  // namespace dagpam::trainer

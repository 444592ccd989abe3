#include "trainer/evaluation/generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
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

// The bits of a float, so that a larger float gives a smaller number; -0 as 0.
uint32_t descending(float x) {
  const auto bits = std::bit_cast<uint32_t>(x + 0.0f);
  return (bits & 0x80000000u) != 0 ? bits : ~bits & 0x7fffffffu;
}

// The ids [0, count) from the likeliest on, of equal ones the smaller first, so that greedy text
// does not depend on the sort: by digits, from the lowest, each pass keeping the order of the one
// before. `score` holds numbers, no NaN.
std::vector<int32_t> by_likelihood(const float* score, size_t count) {
  constexpr int kBits = 11, kPasses = 3;
  constexpr size_t kDigits = size_t{1} << kBits;
  struct Item {
    uint32_t key;
    int32_t id;
  };
  std::vector<Item> items(count), sorted(count);
  std::vector<size_t> starts(kPasses * kDigits, 0);
  for (size_t i = 0; i < count; ++i) {
    items[i] = {descending(score[i]), static_cast<int32_t>(i)};
    for (size_t pass = 0; pass < kPasses; ++pass) {
      ++starts[pass * kDigits + (items[i].key >> (kBits * pass)) % kDigits];
    }
  }
  for (size_t pass = 0; pass < kPasses; ++pass) {
    size_t* const start = starts.data() + pass * kDigits;
    std::exclusive_scan(start, start + kDigits, start, size_t{0});
    for (const Item& item : items) sorted[start[(item.key >> (kBits * pass)) % kDigits]++] = item;
    items.swap(sorted);
  }
  std::vector<int32_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = items[i].id;
  return order;
}

}  // namespace

int64_t sample_token(const at::Tensor& logits, const SamplingOptions& options, int64_t draw) {
  const int64_t vocab =
      options.vocab > 0 ? std::min(options.vocab, logits.numel()) : logits.numel();
  const auto* score = logits.data_ptr<float>();
  if (options.temperature == 0) return std::max_element(score, score + vocab) - score;

  std::vector<int32_t> order = by_likelihood(score, static_cast<size_t>(vocab));
  if (options.top_k > 0 && options.top_k < vocab) order.resize(static_cast<size_t>(options.top_k));
  std::vector<double> weight;
  weight.reserve(order.size());
  double total = 0;
  for (const int32_t id : order) {
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

at::Tensor next_logits(const TransformerLm& model, const at::Tensor& tokens,
                       std::vector<attention::KeyValueCache>& caches) {
  ForwardInput input;
  input.tokens = tokens.to(model.parameters().all().front()->value.device());  // [B, N]
  input.caches = &caches;
  return model.logits(model.hidden(input).narrow(1, tokens.size(1) - 1, 1))
      .squeeze(1)
      .to(at::kCPU, at::kFloat)
      .contiguous();
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
    const at::Tensor tokens = at::empty({1, static_cast<int64_t>(fresh.size())}, at::kLong);
    std::copy(fresh.begin(), fresh.end(), tokens.mutable_data_ptr<int64_t>());
    const at::Tensor logits = next_logits(model, tokens, caches);
    const auto token = static_cast<int32_t>(sample_token(logits, options, draw));
    text.push_back(token);
    fresh.assign(1, token);
    if (on_token) on_token(token);
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

}  // namespace dagpam::trainer

// trainer/evaluation/generator.h: text from a model, one token after the other, with a KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

struct SamplingOptions {
  int64_t max_tokens = 200;
  double temperature = 1;  // 0: always the likeliest token
  int64_t top_k = 0;       // sample among the k likeliest; 0: all
  double top_p = 1;  // sample among the likeliest that together reach p (Holtzman et al. 2020)
  uint64_t seed = 0;
  int64_t vocab = 0;  // symbols that the tokenizer can decode; ids from there on are never drawn
};

// Draws an id from logits [V] (float32 on the CPU, no NaN). `draw` counts the draws of a text: same
// seed and draw, same number.
int64_t sample_token(const at::Tensor& logits, const SamplingOptions& options, int64_t draw);

// Logits of what follows the last of `tokens` [B, N] int64, which extend what the caches hold:
// [B, V] float32 on the CPU. Run it without gradients.
at::Tensor next_logits(const TransformerLm& model, const at::Tensor& tokens,
                       std::vector<attention::KeyValueCache>& caches);

// Continues `prompt` (at least one token). Calls `on_token` with each new id as it comes. When the
// model's context is full, the text goes on from its last half context, encoded anew. Returns the
// new ids.
std::vector<int32_t> generate(const TransformerLm& model, const std::vector<int32_t>& prompt,
                              const SamplingOptions& options,
                              const std::function<void(int32_t)>& on_token = {});

}  // namespace dagpam::trainer

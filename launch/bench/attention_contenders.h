// launch/bench/attention_contenders.h: what `dagpam bench attention` lets run against each other:
// the same attention by several roads, forward and all gradients.
//
// Legend: B batch, T tokens, H heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attention/attention.h"

namespace dagpam::launch {

struct AttentionShape {
  attention::Kind kind = attention::Kind::kDagpam;
  int64_t batch = 1, tokens = 1, heads = 1, width = 1;
  bool causal = true;
  at::ScalarType type = at::kFloat;
  at::Device device = at::kCPU;
};

// A problem drawn from a seed. Leaves have requires_grad set.
struct AttentionInputs {
  AttentionInputs(const AttentionShape& shape, uint64_t seed);

  // Those that `kind` has, in the order of the members.
  std::vector<at::Tensor> leaves(attention::Kind kind) const;

  at::Tensor q, k, v;      // [B, T, H, D], standard normal
  at::Tensor w_neg;        // [H, D, D], normal of deviation D^-0.5
  at::Tensor plus, minus;  // [H], between 0.5 and 1.5: lambdas, or NAP's gain and bias
  at::Tensor q2, gate;     // [B, T, H, D] and [B, T, H], standard normal: DIFF2's
  at::Tensor dy;           // [B, T, H, D], standard normal
};

// Which kernels LibTorch may choose for scaled_dot_product_attention on a GPU.
enum class Library { kAny, kFlash, kCudnn, kEfficient };

struct AttentionContender {
  std::string name, kernel;
  // The same function of the inputs as ours, so outputs and gradients must agree. Where it is not
  // (plain softmax beside another kind) it gets gradients of q, k and v alone.
  bool same = true;
  Library library = Library::kAny;
  std::function<at::Tensor(const AttentionInputs&)> forward;  // -> [B, T, H, D]
};

// Ours first, then its peers, then ours again: what noise alone does. One more contender is one
// more line of attention_contenders.cpp.
std::vector<AttentionContender> attention_contenders(const AttentionShape& shape);

struct AttentionOutcome {
  at::Tensor y;
  std::vector<at::Tensor> gradients;
};
// One forward and backward. Throws c10::Error where the library has no such kernel for the shape.
AttentionOutcome run_contender(const AttentionContender& contender, const AttentionShape& shape,
                               const AttentionInputs& inputs);

// Floating-point operations of forward and backward by the least algebra, the visible pairs alone
// (docs/performance.md): of two maps 24 D a pair, of one 14 D, and 6 D^2 a row of the [D, D] map;
// what the others make of their scores is not counted.
double attention_flops(const AttentionShape& shape);
// Bytes that forward and backward must move at least, in tensors of B T H D: of two maps 14, of one
// 12.
double attention_bytes(const AttentionShape& shape);

}  // namespace dagpam::launch

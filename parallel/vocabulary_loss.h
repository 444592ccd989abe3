// parallel/vocabulary_loss.h: cross-entropy over a vocabulary that is cut over a tensor-parallel
// group. No rank ever holds a full row of logits.
//
// For a token with logits z and target y, in nats, with label smoothing s (Szegedy et al. 2016):
//   loss = log sum_v exp z_v - (1 - s) z_y - s / V sum_v z_v
// Each rank finds the largest of its logits, the sum of their exponentials, its target's logit and
// (smoothing) the sum of its logits; two all-reduces of a few numbers a token make them global.
//
// Legend: R tokens, V vocabulary, Vr this rank's rows of it (0 is allowed).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/communicator.h"

namespace dagpam::parallel {

struct VocabularyLossOptions {
  int64_t vocab = 0;       // V
  int64_t first = 0;       // id of this rank's first logit
  double smoothing = 0;    // in [0, 1)
  int64_t ignored = -100;  // targets that count nothing
};

// logits [R, Vr] float32 or float64, targets [R] int64 in [0, V) or `ignored`, alike on all ranks
// -> each token's loss [R], 0 where it counts nothing, alike on all ranks. Backward gives each rank
// the gradient of its own logits. All ranks of `tp` call forward, which talks; backward does
// not. The plain path, of LibTorch's operators: it holds copies of the logits.
at::Tensor vocabulary_cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                                    const VocabularyLossOptions& options, Communicator& tp);

// The same loss, float32, of logits float32, bfloat16 or float64 that the caller gives away: they
// must be contiguous and nobody else may read them, for backward writes their gradient in their
// place. So there is one [R, Vr] tensor from forward to backward, and each of the two reads it
// once. Only the first backward is good; another throws. Arithmetic is float32, each gradient
// rounded once to the logits' type. float64 takes the plain path.
at::Tensor fused_vocabulary_cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                                          const VocabularyLossOptions& options, Communicator& tp);

}  // namespace dagpam::parallel

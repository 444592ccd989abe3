// parallel/tp_regions.h: the borders between what every rank of a tensor-parallel group holds alike
// and what each holds a part of, as autograd functions (Shoeybi et al. 2019, "Megatron-LM", f and
// g; Korthikanti et al. 2022 for the tokens). Both directions of each are stated here, and nowhere
// else.
//
// Legend: B batch, T time, C width, P ranks of the group. All ranks of `tp` call, forward and
// backward, in the same order. In a group of one rank each returns x itself. float32 or float64;
// c10::Error for other shapes, CommError from the group, which must outlive the graph.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "parallel/communicator.h"

namespace dagpam::parallel {

// x alike on all ranks, about to be used by each in its own part of a layer.
// Forward identity, backward all-reduce.
at::Tensor copy_to_tp(const at::Tensor& x, Communicator& tp);

// x is this rank's term of a sum, and is used up: the sum is formed in its memory, so no operator
// may have kept it for backward (a matrix product keeps its inputs alone), and it is no leaf.
// Forward all-reduce, backward identity.
at::Tensor reduce_from_tp(at::Tensor x, Communicator& tp);

// x [B, T / P, C], this rank's tokens -> [B, T, C], to be used by each rank in its own part of a
// layer. Forward all-gather, backward reduce-scatter.
at::Tensor gather_tokens(const at::Tensor& x, Communicator& tp);

// x [B, T, C] is this rank's term of a sum -> [B, T / P, C], this rank's tokens of the sum.
// Forward reduce-scatter, backward all-gather.
at::Tensor reduce_scatter_tokens(const at::Tensor& x, Communicator& tp);

// Which region the residual stream is in: every rank holds all tokens, or its own T / P of them
// (sequence parallelism).
enum class Stream { kWhole, kOwnTokens };

// From the residual stream into a layer that is cut over the group, and back.
inline at::Tensor enter_cut_layer(const at::Tensor& x, Communicator& tp, Stream stream) {
  return stream == Stream::kWhole ? copy_to_tp(x, tp) : gather_tokens(x, tp);
}
inline at::Tensor leave_cut_layer(at::Tensor x, Communicator& tp, Stream stream) {
  return stream == Stream::kWhole ? reduce_from_tp(std::move(x), tp) : reduce_scatter_tokens(x, tp);
}

}  // namespace dagpam::parallel

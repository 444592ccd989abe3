// parallel/tp_layers.h: layers that are cut over a tensor-parallel group (Shoeybi et al. 2019).
//
// Legend: B batch, T time, V vocabulary, Vl = ceil(V / P), P ranks of the group. Every rank of the
// group declares the same layers in the same order and calls them together. In a group of one rank
// they are the plain layers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "parallel/communicator.h"
#include "parallel/parameter.h"
#include "parallel/tp_regions.h"

namespace dagpam::parallel {

struct LinearOptions {
  int64_t in = 0, out = 0;  // of the whole layer
  bool bias = true;
  double deviation = 0.02;  // of the weight's start; biases start at 0
};

// y = x W^T + b with the rows of W [Out, In] and b [Out] cut: x [..., In], alike on all ranks and
// past enter_cut_layer -> this rank's [..., Out / P]. Declares PREFIXweight and PREFIXbias.
class ColumnLinear {
 public:
  ColumnLinear(const LinearOptions& options, const std::string& prefix, ParameterList& parameters);
  at::Tensor forward(const at::Tensor& x) const;

  // For layers that do the product beside other work.
  Parameter& weight() const { return *weight_; }
  Parameter* bias() const { return bias_.get(); }  // or nullptr

 private:
  ParameterPtr weight_, bias_;
};

// y = x W^T + b with the columns of W [Out, In] cut and b [Out] replicated: this rank's x [B, T, In
// / P] -> the whole sum [B, T, Out], back in the residual stream.
class RowLinear {
 public:
  // With `sequence`, calls may leave the ranks with their own tokens, so that a rank's gradient of
  // the bias is a part of it.
  RowLinear(const LinearOptions& options, const std::string& prefix, ParameterList& parameters,
            Communicator& tp, bool sequence);
  at::Tensor forward(const at::Tensor& x, Stream stream) const;

  // For layers that do the product beside other work: what is left to do with x W^T, where the
  // group has more than one rank (one alone adds the bias with the product).
  at::Tensor left(at::Tensor product, Stream stream) const;
  Parameter& weight() const { return *weight_; }
  Parameter* bias() const { return bias_.get(); }  // or nullptr

 private:
  ParameterPtr weight_, bias_;
  Communicator* tp_;
};

// A table [V, C] with its rows cut: Vl a rank, the last ones padded. Embedding and, tied or not,
// output projection.
class VocabularyTable {
 public:
  VocabularyTable(int64_t vocab, int64_t width, double deviation, const std::string& name,
                  ParameterList& parameters, Communicator& tp);

  // ids [B, T] int64 in [0, V) -> [B, T, C], or this rank's tokens of it.
  at::Tensor embed(const at::Tensor& ids, Stream stream) const;

  // x [..., C], past enter_cut_layer -> this rank's logits [..., real rows]: padding has none.
  at::Tensor logits(const at::Tensor& x) const;

  int64_t vocab() const { return table_->shard.global_shape[0]; }
  int64_t first() const { return table_->shard.offset; }  // id of this rank's first row
  int64_t rows() const;                                   // this rank's real rows

 private:
  ParameterPtr table_;
  Communicator* tp_;
};

}  // namespace dagpam::parallel

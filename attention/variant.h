// attention/variant.h: the steps that the variants have in common, each taken by the plain path or
// by the fast one.
//
// Legend: B batch, N queries, M keys, H query heads, Hkv key-value heads, D head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "attention/attention.h"
#include "attention/maps.h"
#include "attention/weighting.h"

namespace dagpam::attention {

// What a variant's forward was called with, checked: throws c10::Error with the sizes where shapes,
// types or devices do not fit each other.
struct Call {
  Call(const Options& options, const Inputs& inputs);

  // ReLU(x) W of each head of x [B, N, H, D], plus x itself if `residual`.
  at::Tensor map_queries(const at::Tensor& x, const at::Tensor& w, bool residual) const;
  // x at its positions; x itself without rotary positions.
  at::Tensor rotated(const at::Tensor& x) const;
  // The answer of daGPAM for q, of which Q- = ReLU(q) W.
  at::Tensor attend_mapped(const at::Tensor& w, const Lambdas& lambdas) const;
  // The answer for `plus` and `minus` maps of rotated queries. Rotates the new keys and puts them
  // behind the cached ones. q_neg and the lambdas are undefined for one map.
  at::Tensor attend(const at::Tensor& q_rotated, const at::Tensor& q_neg_rotated,
                    const Lambdas& lambdas) const;

  // Keys and values as the maps of queries [B, N, any, D] read them: the new keys rotated and put
  // behind the cached ones.
  Maps placed(const at::Tensor& q_rotated) const;
  // The answer of one map, by the kernels that serve this call.
  at::Tensor answer(Maps maps) const;
  bool has_kernels() const { return fast || (composed && dropout == nullptr); }

  // The answer of weights that are no softmax; `own` are the variant's parameters.
  at::Tensor attend_weighted(const std::vector<at::Tensor>& own, const Weighting& weighting) const;

  void check_gate(const at::Tensor& gate) const;  // [B, N, heads / 2] beside q [B, N, heads, D]

  const at::Tensor &q, &k, &v;  // the caller's, as all of `inputs`
  const Visibility& visibility;
  const Rotary* rotary;
  const WeightDropout* dropout;  // none where p is 0
  KeyValueCache* cache;
  SeenWeights* seen;  // or nullptr
  bool reference;     // the plain path was asked for
  bool fast;          // the CPU kernels serve this call
  bool composed;      // LibTorch's attention does, where there is no dropout on weights
  bool fused;         // the project's GPU kernels do

 private:
  at::Tensor bounds(int64_t keys) const;
  at::Tensor given_bounds() const;
};

// Puts k and v [B, M, Hkv, D] behind what the cache holds; its room doubles when it is full.
// Generation only: throws where a gradient would be needed.
void append(KeyValueCache& cache, const at::Tensor& k, const at::Tensor& v);

// One variant a file; all throw c10::Error for impossible options.
std::unique_ptr<Attention> make_softmax(const Options& options);
std::unique_ptr<Attention> make_softmax_wide(const Options& options, const std::string& prefix,
                                             parallel::ParameterList& parameters);

// Those whose weights are no softmax are a weighting and its parameters of this rank.
std::unique_ptr<Attention> make_weighted(const Options& options,
                                         std::vector<parallel::ParameterPtr> own,
                                         Weighting weighting);
std::unique_ptr<Attention> make_non(const Options& options);
std::unique_ptr<Attention> make_coda(const Options& options);
std::unique_ptr<Attention> make_cog(const Options& options);
std::unique_ptr<Attention> make_nap(const Options& options, const std::string& prefix,
                                    parallel::ParameterList& parameters);
std::unique_ptr<Attention> make_diff(const Options& options, const std::string& prefix,
                                     parallel::ParameterList& parameters);
std::unique_ptr<Attention> make_diff2(const Options& options);
std::unique_ptr<Attention> make_dagpam(const Options& options, const std::string& prefix,
                                       parallel::ParameterList& parameters,
                                       std::function<Lambdas()> lambdas);

// w_neg [H, D, D], cut with the heads, which SOFTMAX_WIDE and DAGPAM both have.
parallel::ParameterPtr declare_query_map(const Options& options, const std::string& prefix,
                                         parallel::ParameterList& parameters);

}  // namespace dagpam::attention

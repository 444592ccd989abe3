// parallel/parameter.h: a trained tensor that knows what it is a shard of.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagpam::parallel {

// Which part of a global tensor a rank holds. cut_dim -1: the whole tensor, replicated on every
// rank of the tensor-parallel group. Otherwise rows [offset, offset + local size) of dimension
// cut_dim; those past the global tensor's end are padding.
struct ShardSpec {
  std::vector<int64_t> global_shape;
  int cut_dim = -1;
  int64_t offset = 0;

  // Rows of cut_dim that are no padding, of `local` rows that the rank holds.
  int64_t real_rows(int64_t local) const;
};

// How a parameter starts. Values are a function of (seed, name, index in the global tensor), so a
// shard starts with the same numbers as the same rows of the whole.
struct Init {
  enum class Kind { kConstant, kNormal };
  Kind kind = Kind::kConstant;
  double value = 0;      // kConstant
  double deviation = 0;  // kNormal

  static Init constant(double value) { return {Kind::kConstant, value, 0}; }
  static Init normal(double deviation) { return {Kind::kNormal, 0, deviation}; }
};

// Shared by the layer that uses it, the optimizer, the gradient buckets and the checkpoints.
struct Parameter {
  std::string name;  // e.g. "layers.3.attention.w_neg"; unique in a model
  at::Tensor value;  // this rank's shard, a leaf that requires grad
  ShardSpec shard;
  Init init;
  bool decay = false;  // weight decay applies
  // Replicated, but a rank's gradient is only its term of the sum over the tensor-parallel group.
  bool partial_gradient = false;
  // The terms of its gradient, one sum over all tokens, nearly cancel: rounding is a large part of
  // it.
  bool gradient_cancels = false;
  // Set while rows of `value` are on their way from other ranks: waits for them.
  std::function<void()> arriving = {};

  // `value` with all of its rows there: what a forward pass reads. Throws CommError.
  const at::Tensor& ready();
};

// How a declared parameter differs from a replicated one with the usual weight decay.
struct ParameterOptions {
  int cut_dim = -1;                // cut over the tensor-parallel group along this dimension
  bool may_pad = false;            // ranks may hold padding where the extent does not divide
  bool partial_gradient = false;   // see Parameter
  bool gradient_cancels = false;   // see Parameter
  std::optional<bool> decay = {};  // default: for two or more dimensions
};

using ParameterPtr = std::shared_ptr<Parameter>;

// The parameters of a model in declaration order, as rank tp_index of a tensor-parallel group of
// tp_size holds them. Order and names are the same on every rank.
class ParameterList {
 public:
  // `type` of the values: float32, float64, or bfloat16 (see master_weights.h).
  explicit ParameterList(int tp_index = 0, int tp_size = 1, at::ScalarType type = at::kFloat);
  int tp_index() const { return tp_index_; }
  int tp_size() const { return tp_size_; }

  // Declares a parameter, not yet initialised: an empty tensor of this rank's part of
  // `global_shape`, ceil(extent / tp_size) rows of a cut dimension. Throws c10::Error if the name
  // is taken, or if a dimension does not divide that may not be padded.
  ParameterPtr add(const std::string& name, std::vector<int64_t> global_shape, Init init,
                   const ParameterOptions& options = {});

  // Fills every parameter from (seed, name). Same on every rank and under every layout.
  void initialise(uint64_t seed) const;

  // Moves the values to `device`. Before anything holds on to one: gradients, optimizer, views.
  void move_to(at::Device device) const;

  const std::vector<ParameterPtr>& all() const { return items_; }
  ParameterPtr find(const std::string& name) const;  // nullptr if there is none
  int64_t count() const;                             // elements of the global tensors

 private:
  int tp_index_, tp_size_;
  at::ScalarType type_;
  std::vector<ParameterPtr> items_;
};

}  // namespace dagpam::parallel

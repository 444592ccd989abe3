// parallel/parameter.h: a trained tensor that knows what it is a shard of.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dagpam::parallel {

// Which part of a global tensor a rank holds. cut_dim -1: the whole tensor, replicated on every
// rank of the tensor-parallel group. Otherwise rows [offset, offset + local size) of dimension
// cut_dim.
struct ShardSpec {
  std::vector<int64_t> global_shape;
  int cut_dim = -1;
  int64_t offset = 0;
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
};

using ParameterPtr = std::shared_ptr<Parameter>;

// The parameters of a model in declaration order. Order and names are the same on every rank.
class ParameterList {
 public:
  // Declares a replicated parameter, not yet initialised (an empty float32 tensor of `shape`).
  // Weight decay applies to two or more dimensions unless `decay` says otherwise. Throws c10::Error
  // if the name is taken.
  ParameterPtr add(const std::string& name, std::vector<int64_t> shape, Init init);
  ParameterPtr add(const std::string& name, std::vector<int64_t> shape, Init init, bool decay);

  // Fills every parameter from (seed, name). Same on every rank and under every layout.
  void initialise(uint64_t seed) const;

  const std::vector<ParameterPtr>& all() const { return items_; }
  ParameterPtr find(const std::string& name) const;  // nullptr if there is none
  int64_t count() const;                             // elements of the global tensors

 private:
  std::vector<ParameterPtr> items_;
};

}  // namespace dagpam::parallel

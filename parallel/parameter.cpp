#include "parallel/parameter.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "parallel/random.h"

namespace dagpam::parallel {

int64_t ShardSpec::real_rows(int64_t local) const {
  return std::clamp<int64_t>(global_shape[static_cast<size_t>(cut_dim)] - offset, 0, local);
}

const at::Tensor& Parameter::ready() {
  if (arriving) std::exchange(arriving, {})();
  return value;
}

ParameterList::ParameterList(int tp_index, int tp_size, at::ScalarType type)
    : tp_index_(tp_index), tp_size_(tp_size), type_(type) {
  TORCH_CHECK(tp_size >= 1 && tp_index >= 0 && tp_index < tp_size, "parameters of rank ", tp_index,
              " of ", tp_size);
}

ParameterPtr ParameterList::add(const std::string& name, std::vector<int64_t> global_shape,
                                Init init, const ParameterOptions& options) {
  TORCH_CHECK(!name.empty(), "a parameter needs a name");
  TORCH_CHECK(find(name) == nullptr, "parameter '", name, "' is declared twice");
  for (const int64_t extent : global_shape) {
    TORCH_CHECK(extent >= 0, "parameter '", name, "': negative extent ", extent);
  }
  auto parameter = std::make_shared<Parameter>();
  std::vector<int64_t> shape = global_shape;
  if (options.cut_dim >= 0 && tp_size_ > 1) {
    const auto cut = static_cast<size_t>(options.cut_dim);
    TORCH_CHECK(cut < shape.size(), "parameter '", name, "': cut dimension ", cut, " of ",
                shape.size());
    TORCH_CHECK(options.may_pad || shape[cut] % tp_size_ == 0, "parameter '", name,
                "': ", shape[cut], " rows of dimension ", cut, " do not divide over ", tp_size_,
                " ranks");
    shape[cut] = (shape[cut] + tp_size_ - 1) / tp_size_;
    parameter->shard.cut_dim = options.cut_dim;
    parameter->shard.offset = tp_index_ * shape[cut];
  }
  parameter->name = name;
  parameter->value = at::empty(shape, at::TensorOptions(type_)).requires_grad_();
  parameter->decay = options.decay.value_or(global_shape.size() >= 2);
  parameter->shard.global_shape = std::move(global_shape);
  parameter->init = init;
  parameter->gradient_cancels = options.gradient_cancels;
  parameter->partial_gradient = options.partial_gradient && tp_size_ > 1;
  items_.push_back(parameter);
  return parameter;
}

void ParameterList::initialise(uint64_t seed) const {
  for (const ParameterPtr& parameter : items_) {
    parallel::initialise(parameter->value, parameter->shard, parameter->init, seed,
                         parameter->name);
  }
}

void ParameterList::move_to(at::Device device) const {
  for (const ParameterPtr& parameter : items_) {
    parameter->value = parameter->value.detach().to(device).requires_grad_();
  }
}

ParameterPtr ParameterList::find(const std::string& name) const {
  const auto found = std::find_if(items_.begin(), items_.end(),
                                  [&](const ParameterPtr& item) { return item->name == name; });
  return found == items_.end() ? nullptr : *found;
}

int64_t ParameterList::count() const {
  int64_t total = 0;
  for (const ParameterPtr& parameter : items_) {
    int64_t elements = 1;
    for (const int64_t extent : parameter->shard.global_shape) {
      elements *= extent;
    }
    total += elements;
  }
  return total;
}

}  // namespace dagpam::parallel

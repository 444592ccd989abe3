#include "parallel/parameter.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "parallel/random.h"

namespace dagpam::parallel {

ParameterPtr ParameterList::add(const std::string& name, std::vector<int64_t> shape, Init init) {
  const bool decay = shape.size() >= 2;
  return add(name, std::move(shape), init, decay);
}

ParameterPtr ParameterList::add(const std::string& name, std::vector<int64_t> shape, Init init,
                                bool decay) {
  TORCH_CHECK(!name.empty(), "a parameter needs a name");
  TORCH_CHECK(find(name) == nullptr, "parameter '", name, "' is declared twice");
  for (const int64_t extent : shape) {
    TORCH_CHECK(extent >= 0, "parameter '", name, "': negative extent ", extent);
  }
  auto parameter = std::make_shared<Parameter>();
  parameter->name = name;
  parameter->value = at::empty(shape, at::TensorOptions(at::kFloat)).requires_grad_();
  parameter->shard.global_shape = std::move(shape);
  parameter->init = init;
  parameter->decay = decay;
  items_.push_back(parameter);
  return parameter;
}

void ParameterList::initialise(uint64_t seed) const {
  for (const ParameterPtr& parameter : items_) {
    parallel::initialise(parameter->value, parameter->shard, parameter->init, seed,
                         parameter->name);
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

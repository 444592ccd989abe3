// trainer/model/recompute.h: part of a model that is computed again in backward, so that what it
// would have saved need not be kept (Chen et al. 2016, "Training deep nets with sublinear memory
// cost").
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace dagpam::trainer {

using RecomputedFn = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

// fn(inputs), saving these alone. fn is called again in backward, with the same inputs, and must
// then give the same bits (dropout drawn from counters does); what it captures must live until
// then. Parameters that it uses get their gradients there, each in one such call of a step: what
// calls share, as layers may share lambdas, is an input. Without gradients it is fn alone.
at::Tensor recomputed(const std::vector<at::Tensor>& inputs, const RecomputedFn& fn);

}  // namespace dagpam::trainer

// trainer/model/token_losses.h: from a model's hidden states to its losses, of either kind of
// model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/tp_layers.h"

namespace dagpam::trainer {

// What Model::losses() gives, for the logits that `output` makes of hidden [B, N, C]. All ranks of
// `tp` call.
at::Tensor token_losses(const at::Tensor& hidden, const at::Tensor& targets, int64_t first,
                        double smoothing, const parallel::VocabularyTable& output,
                        parallel::Communicator& tp);

}  // namespace dagpam::trainer

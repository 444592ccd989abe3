// trainer/model/attention_options.h: from the config's words to the attention folder's.
#pragma once

#include <cstdint>

#include "attention/attention.h"
#include "attention/lambdas.h"
#include "configs/run.pb.h"

namespace dagpam::trainer {

// Of layer `index` of a stack of `layers`, on one of `ranks` that share the heads.
attention::Options attention_options(const configs::ModelConfig& model,
                                     const configs::AttentionConfig& attention, int64_t index,
                                     int64_t layers, int64_t ranks);

attention::LambdaOptions lambda_options(const configs::LambdaConfig& config,
                                        const attention::LambdaNames& names = {});

}  // namespace dagpam::trainer

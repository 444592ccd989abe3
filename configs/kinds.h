// configs/kinds.h: what a config has for one kind of model alone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "configs/run.pb.h"

namespace dagpam::configs {

// The attention blocks that the model has, by the name of their field: `attention`, and of an
// encoder-decoder `encoder_attention` and `cross_attention` too. They live as long as `config`.
std::vector<std::pair<std::string, const AttentionConfig*>> attentions(const RunConfig& config);

// Refuses (ConfigError) fields that the config's kind of model does not read. `config` is complete.
void check_kind(const RunConfig& config);

}  // namespace dagpam::configs

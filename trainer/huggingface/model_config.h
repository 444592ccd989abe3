// trainer/huggingface/model_config.h: a model's shape as config.json of a Hugging Face folder.
#pragma once

#include <string>

#include "configs/run.pb.h"
#include "data/tokenizer.h"
#include "trainer/huggingface/json_file.h"

namespace dagpam::huggingface {

// config.json of a decoder: fields as python/configuration_dagpam.py has them. `config` is complete
// (configs::with_defaults) and model.vocab is set.
std::string print_config(const configs::RunConfig& config, const data::Tokenizer& tokenizer);

// generation_config.json: the ids that end a text; ids past the tokenizer's vocabulary are never
// drawn, as `dagpam generate` has it.
std::string print_generation_config(const configs::RunConfig& config,
                                    const data::Tokenizer& tokenizer);

// The model that config.json with model_type "dagpam" describes, complete and checked as a run's
// config is; of the rest of a run the defaults. Throws CheckpointError naming file and field.
configs::RunConfig read_config(const JsonFile& file);

// As read_config() ends: `config` with its defaults, once it is found good. Throws CheckpointError
// that starts with `path`.
configs::RunConfig checked_config(const configs::RunConfig& config, const std::string& path);

}  // namespace dagpam::huggingface

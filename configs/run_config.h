// configs/run_config.h: from files and overrides to one complete, checked RunConfig.
//
// Everything here throws ConfigError with one line: file:line:column or field path, the value, what
// was expected, and what to do ("did you mean"). Nothing is changed on disk, no MPI, no LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run.pb.h"

namespace dagpam::configs {

// Reads text-format files in order; a later file overrides an earlier one field by field, a list as
// a whole. Then applies `field.path=value` overrides. Only what was written is set: no defaults, no
// range checks.
RunConfig load(const std::vector<std::string>& files, const std::vector<std::string>& overrides);

// One override, e.g. "model.layers=15", "data.train=[{prefix: 'a' weight: 2}]",
// "attention.kind=DAGPAM", "data.train.0.prefix=a", "optimizer.betas=0.9,0.99", "name=no quotes
// needed". Blocks merge field by field, lists are replaced. On an error `config` is as before.
void apply_override(RunConfig& config, const std::string& assignment);

// Range and consistency checks that need the config alone (heads divide width, probabilities, NaN
// ...). A config passes before with_defaults() exactly if it passes after it.
void validate(const RunConfig& config);

// Fills in every unset field: the schema's defaults, and those that depend on other fields
// (kv_heads, mlp_width, betas). Fields that the data or the ranks decide (model.vocab,
// train.micro_batch, schedule.decay_steps) are left unset; the trainer sets them before it saves
// the resolved config. data.valid and data.test that were set to "" (an overlay cannot take a field
// back) are unset. Any config will do, checked or not.
RunConfig with_defaults(const RunConfig& config);

// Copies of the model, dp = ranks / parallel.tensor. Checks what needs the number of ranks: throws
// where the ranks, or the model's heads, key-value heads, MLP width or (sequence parallelism)
// context do not divide.
int data_parallel_size(const RunConfig& config, int ranks);

// The micro-batch of a copy of the model; throws where global_batch does not divide over `copies`.
int64_t micro_batch(const RunConfig& config, int copies);

// Text format in schema order, every set field on its own line, parsed back to an equal message.
std::string print(const RunConfig& config);

// 32 lower-case hex digits of XXH3-128 over print(config).
std::string digest(const RunConfig& config);

// Dotted paths of the leaf fields whose values differ, in schema order, e.g. {"model.layers",
// "data.train.0.weight"}. Fields left out count as the schema's default. Lists of another length,
// and lists of numbers, differ as a whole
// ("data.train", "optimizer.betas").
std::vector<std::string> differing_fields(const RunConfig& a, const RunConfig& b);

}  // namespace dagpam::configs

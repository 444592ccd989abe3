// trainer/huggingface/gpt2_weights.h: GPT-2's shape and weights (model_type "gpt2" of
// transformers) in the terms of this program's models.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>

#include "configs/run.pb.h"
#include "trainer/checkpoint/boxes.h"
#include "trainer/huggingface/json_file.h"
#include "trainer/huggingface/weight_files.h"

namespace dagpam::huggingface {

// Where a parameter comes from.
struct WeightSource {
  std::string tensor;       // of the folder
  checkpoint::Shape shape;  // that it must have there
  // Puts its values in the parameter's order; empty: they are.
  std::function<void(std::span<const float> from, std::span<float> to)> arrange = {};
};
using WeightSources = std::map<std::string, WeightSource>;  // by parameter

// The model of config.json, with attention SOFTMAX or DAGPAM; DAGPAM starts with l+ = l- = 0, so
// that it computes the same. Throws CheckpointError naming the field where GPT-2 would compute
// what no model here does.
configs::RunConfig read_gpt2_config(const JsonFile& file, configs::AttentionConfig::Kind kind);

// GPT-2 keeps its projections as [in, out], queries, keys and values of all heads side by side.
// With names that begin with "transformer." (GPT2LMHeadModel) or without (GPT2Model).
WeightSources gpt2_sources(const configs::ModelConfig& model, const WeightFiles& files);

// Whether a tensor of a GPT-2 folder holds no weights: masks that old files carry.
bool is_gpt2_buffer(const std::string& tensor);

}  // namespace dagpam::huggingface

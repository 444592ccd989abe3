#include "trainer/huggingface/import.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <span>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/this_start.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/huggingface/gpt2_weights.h"
#include "trainer/huggingface/json_file.h"
#include "trainer/huggingface/model_config.h"
#include "trainer/huggingface/new_folder.h"
#include "trainer/huggingface/tokenizer_reader.h"
#include "trainer/huggingface/weight_files.h"
#include "trainer/model/model.h"
#include "trainer/parameter_counts.h"
#include "trainer/run_state.h"
#include "trainer/state_tensors.h"

namespace dagpam::huggingface {

using checkpoint::in_quotes;
using checkpoint::Shape;
using configs::AttentionConfig;
using configs::RunConfig;

namespace {

constexpr char kTiedHead[] = "lm_head.weight";

AttentionConfig::Kind asked_kind(const ImportOptions& options) {
  if (options.attention.empty() || options.attention == "SOFTMAX") return AttentionConfig::SOFTMAX;
  if (options.attention == "DAGPAM") return AttentionConfig::DAGPAM;
  throw ConfigError("--attention: " + options.attention +
                    " cannot compute what GPT-2 does, expected SOFTMAX or DAGPAM");
}

RunConfig read_any_config(const JsonFile& file, const std::string& type,
                          const ImportOptions& options) {
  if (type == "gpt2") return read_gpt2_config(file, asked_kind(options));
  if (type != "dagpam") file.refuse("model_type", "dagpam or gpt2");
  if (!options.attention.empty()) {
    throw ConfigError("--attention: is for GPT-2 weights, but " + file.path() +
                      " is a dagpam model, which has its own: leave it out");
  }
  return read_config(file);
}

// A folder that claims more than it holds is refused before memory is taken for it.
void check_size(RunConfig config, bool gpt2, const WeightFiles& files, const JsonFile& file) {
  if (gpt2) config.mutable_attention()->set_kind(AttentionConfig::SOFTMAX);
  const int64_t needed = trainer::count_parameters(config).all;
  int64_t held = 0;
  for (const auto& [name, tensor] : files.tensors()) {
    held += checkpoint::elements(tensor.shape).value_or(0);
  }
  if (held >= needed) return;
  throw CheckpointError(file.path() + ": describes a model of " + std::to_string(needed) +
                        " numbers, but the safetensors beside it hold " + std::to_string(held) +
                        ": a file of another model, or one is missing");
}

WeightSources sources_of(const trainer::Model& model, bool gpt2, const WeightFiles& files) {
  if (gpt2) return gpt2_sources(model.config(), files);
  WeightSources sources;
  for (const auto& parameter : model.parameters().all()) {
    sources[parameter->name] = {parameter->name, parameter->shard.global_shape};
  }
  return sources;
}

// Of GPT-2, what holds no weights of its own; throws where a tied output projection is another.
bool may_be_left(const std::string& tensor, const WeightFiles& files,
                 const WeightSources& sources) {
  if (is_gpt2_buffer(tensor)) return true;
  if (tensor != kTiedHead) return false;
  const WeightSource& table = sources.at("embedding.token.weight");
  const auto size = static_cast<size_t>(checkpoint::elements(table.shape).value_or(0));
  bool same = files.tensors().at(tensor).shape == table.shape;
  if (same) {
    std::vector<float> head(size), embedding(size);
    files.read(tensor, head);
    files.read(table.tensor, embedding);
    same = std::memcmp(head.data(), embedding.data(), size * sizeof(float)) == 0;
  }
  if (same) return true;
  throw CheckpointError(files.place_of(tensor) + " differs from " + table.tensor +
                        ", but tie_word_embeddings is true: set it to false in config.json");
}

void check_names(const WeightFiles& files, const WeightSources& sources, bool gpt2) {
  std::set<std::string> known;
  for (const auto& [parameter, source] : sources) {
    known.insert(source.tensor);
    const auto found = files.tensors().find(source.tensor);
    if (found == files.tensors().end()) {
      throw CheckpointError("the weights lack " + in_quotes(source.tensor) +
                            ", which config.json calls for: a file of another model?");
    }
    if (found->second.shape != source.shape) {
      throw CheckpointError(files.place_of(source.tensor) + " is " +
                            checkpoint::to_text(found->second.shape) + ", expected " +
                            checkpoint::to_text(source.shape) + " as config.json says");
    }
  }
  for (const auto& [name, tensor] : files.tensors()) {
    if (known.contains(name) || (gpt2 && may_be_left(name, files, sources))) continue;
    throw CheckpointError(files.place_of(name) +
                          " is unknown: config.json describes a model without it");
  }
}

void load(const trainer::Model& model, const WeightFiles& files, const WeightSources& sources) {
  std::vector<float> memory;
  for (const trainer::NamedTensor& parameter : trainer::parameters_of(model)) {
    const auto found = sources.find(parameter.name);
    if (found == sources.end()) continue;  // GPT-2 lacks it
    const WeightSource& source = found->second;
    const std::span<std::byte> bytes = trainer::bytes_of(parameter.value);
    const std::span<float> values(reinterpret_cast<float*>(bytes.data()),
                                  bytes.size() / sizeof(float));
    if (source.arrange) {
      memory.resize(values.size());
      files.read(source.tensor, memory);
      source.arrange(memory, values);
    } else {
      files.read(source.tensor, values);
    }
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
      throw CheckpointError(files.place_of(source.tensor) + " holds numbers that are not finite");
    }
  }
}

void save(const trainer::Model& model, const RunConfig& config, const data::Tokenizer& tokenizer,
          parallel::Communicator& alone, const NewFolder& folder) {
  trainer::Progress progress;
  progress.run_id = trainer::new_run_id(alone);
  std::vector<checkpoint::TensorPiece> pieces;
  for (const trainer::NamedTensor& tensor : trainer::parameters_of(model)) {
    pieces.push_back({tensor.name, "F32", tensor.shard->global_shape, trainer::box_of(tensor),
                      trainer::bytes_of(tensor.value)});
  }
  checkpoint::CheckpointWriter writer(
      checkpoint::posix_file_system(),
      {folder.staging(), 0, progress.run_id, checkpoint::random_hex()});
  const std::string record = writer.write_shard(0, 1, pieces);
  writer.commit(trainer::to_manifest(progress, config, tokenizer.digest(), 0), {record},
                {{checkpoint::kConfigName, configs::print(config)},
                 {checkpoint::kTokenizerName, tokenizer.to_json()}});
}

}  // namespace

Imported import_folder(const ImportOptions& options, parallel::Communicator& alone) {
  auto& fs = checkpoint::posix_file_system();
  if (checkpoint::step_of(options.out).value_or(0) != 0) {
    throw ConfigError("--out: " + options.out +
                      " names another step than 0, which an import is: choose another name");
  }
  const JsonFile file(fs, options.from + "/config.json");
  const std::string type = file.text("model_type");
  const bool gpt2 = type == "gpt2";
  const RunConfig config = read_any_config(file, type, options);
  const auto tokenizer = read_tokenizer(fs, options.from, options.tokenizer);
  if (tokenizer->vocab_size() > config.model().vocab()) {
    throw CheckpointError(file.path() + ": vocab_size is " +
                          std::to_string(config.model().vocab()) + ", but the tokenizer has " +
                          std::to_string(tokenizer->vocab_size()) + " symbols: another model's?");
  }
  const WeightFiles files(fs, options.from);
  check_size(config, gpt2, files, file);
  const auto model = trainer::make_model(config, trainer::TensorParallel{alone});
  const WeightSources sources = sources_of(*model, gpt2, files);
  check_names(files, sources, gpt2);
  NewFolder folder(fs, options.out, "--out");
  if (gpt2) model->parameters().initialise(options.seed);
  load(*model, files, sources);
  save(*model, config, *tokenizer, alone, folder);
  folder.commit(checkpoint::step_name(0));
  return {type, static_cast<int64_t>(model->parameters().all().size()),
          model->parameters().count()};
}

}  // namespace dagpam::huggingface

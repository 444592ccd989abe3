#include "trainer/huggingface/export.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/safetensors.h"
#include "trainer/huggingface/model_config.h"
#include "trainer/huggingface/new_folder.h"
#include "trainer/huggingface/python_files.h"
#include "trainer/huggingface/tokenizer_files.h"
#include "trainer/huggingface/weight_files.h"
#include "trainer/saved_config.h"

namespace dagpam::huggingface {

namespace {

using checkpoint::Checkpoint;
using Tensors = std::vector<const configs::Manifest::Tensor*>;

int64_t bytes_of(const configs::Manifest::Tensor& tensor) {
  return checkpoint::elements(checkpoint::shape_of(tensor)).value_or(0) *
         checkpoint::dtype_bytes(tensor.dtype());
}

// In the checkpoint's order, as many to a file as fit.
std::vector<Tensors> plan_files(const Tensors& all, int64_t shard_bytes) {
  std::vector<Tensors> files;
  int64_t left = 0;
  for (const auto* tensor : all) {
    const int64_t bytes = bytes_of(*tensor);
    if (files.empty() || bytes > left) {
      files.emplace_back();
      left = shard_bytes;
    }
    files.back().push_back(tensor);
    left -= bytes;
  }
  return files;
}

std::string file_name(size_t file, size_t files) {
  if (files == 1) return kWeightsName;
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", file + 1, files);
  return name;
}

void write_weights(const Checkpoint& saved, const Tensors& tensors, const std::string& path) {
  std::vector<std::vector<std::byte>> memory;
  std::vector<checkpoint::SafetensorsTensor> out;
  memory.reserve(tensors.size());
  for (const auto* tensor : tensors) {
    memory.emplace_back(static_cast<size_t>(bytes_of(*tensor)));
    saved.read_tensor(tensor->name(), checkpoint::TensorRange{}, memory.back());
    out.push_back({tensor->name(), tensor->dtype(), checkpoint::shape_of(*tensor), memory.back()});
  }
  checkpoint::BlockWriter file(checkpoint::posix_file_system(), path);
  // What transformers looks for: the tensors are PyTorch's.
  checkpoint::write_safetensors(file, std::move(out), {{"format", "pt"}});
  file.finish();
}

std::string print_index(const std::vector<Tensors>& files) {
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  int64_t bytes = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const auto* tensor : files[i]) {
      map[tensor->name()] = file_name(i, files.size());
      bytes += bytes_of(*tensor);
    }
  }
  const nlohmann::ordered_json index{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
  return index.dump(2) + "\n";
}

void write_files(const configs::RunConfig& config, const std::string& tokenizer_json,
                 const NewFolder& folder) {
  const auto tokenizer = data::tokenizer_from_json(tokenizer_json);
  folder.write("config.json", print_config(config, *tokenizer));
  folder.write("generation_config.json", print_generation_config(config, *tokenizer));
  folder.write(kOwnTokenizerName, tokenizer_json);
  for (const TextFile& file : tokenizer_files(tokenizer_json, config.model().context())) {
    folder.write(file.name, file.text);
  }
  for (const TextFile& file : python_files()) folder.write(file.name, file.text);
}

}  // namespace

Exported export_checkpoint(const ExportOptions& options) {
  auto& fs = checkpoint::posix_file_system();
  const auto saved =
      checkpoint::open_checkpoint(fs, checkpoint::find_checkpoint(fs, options.checkpoint));
  const configs::RunConfig config = configs::with_defaults(trainer::saved_config(*saved));
  if (config.model().kind() != configs::ModelConfig::DECODER) {
    throw ConfigError("--checkpoint: model.kind of " + saved->path() +
                      " is ENCODER_DECODER, expected DECODER: translation models have no export");
  }
  Exported done{saved->path()};
  Tensors all;
  for (const auto& tensor : saved->manifest().tensors()) {
    if (!checkpoint::is_weight(tensor.name())) continue;
    all.push_back(&tensor);
    done.numbers += checkpoint::elements(checkpoint::shape_of(tensor)).value_or(0);
  }
  const std::vector<Tensors> files = plan_files(all, options.shard_bytes);
  NewFolder folder(fs, options.out, "--out");
  for (size_t i = 0; i < files.size(); ++i) {
    write_weights(*saved, files[i], folder.staging() + "/" + file_name(i, files.size()));
  }
  if (files.size() > 1) folder.write(kIndexName, print_index(files));
  write_files(config, saved->read_copy(checkpoint::kTokenizerName), folder);
  folder.commit();
  done.tensors = static_cast<int64_t>(all.size());
  done.files = static_cast<int64_t>(files.size());
  return done;
}

}  // namespace dagpam::huggingface

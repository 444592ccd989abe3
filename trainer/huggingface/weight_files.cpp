#include "trainer/huggingface/weight_files.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>

#include "configs/errors.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/huggingface/json_file.h"

namespace dagpam::huggingface {

using checkpoint::in_quotes;
using checkpoint::InputFile;
using checkpoint::SafetensorsEntry;

float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

float from_half(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
  if (exponent == 0) {  // zero, or a subnormal: fraction x 2^-24, exact in float32
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 0x1fu ? 0xffu : exponent + 127 - 15;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

WeightFiles::WeightFiles(checkpoint::FileSystem& fs, const std::string& folder) {
  const std::string single = folder + "/" + kWeightsName, index = folder + "/" + kIndexName;
  const bool one = checkpoint::status_of(fs, single).has_value();
  const bool many = checkpoint::status_of(fs, index).has_value();
  if (one && many) {
    throw CheckpointError(folder + ": holds " + kWeightsName + " and " + kIndexName +
                          ": remove the one that is not meant");
  }
  if (!one && !many) {
    throw CheckpointError(folder + ": holds neither " + kWeightsName + " nor " + kIndexName +
                          ": give a folder with weights as safetensors (pickle files are not "
                          "read: save_pretrained() of transformers writes safetensors)");
  }
  one ? open_single(fs, single) : open_shards(fs, folder);
}

void WeightFiles::open_single(checkpoint::FileSystem& fs, const std::string& path) {
  files_.push_back(std::make_unique<InputFile>(fs, path));
  for (const SafetensorsEntry& entry : checkpoint::read_safetensors_header(*files_[0]).entries) {
    add(0, entry);
  }
}

void WeightFiles::open_shards(checkpoint::FileSystem& fs, const std::string& folder) {
  const JsonFile index(fs, folder + "/" + kIndexName);
  const auto map = index.object().find("weight_map");
  if (map == index.object().end() || !map->is_object() || map->empty()) {
    index.refuse("weight_map", "an object: the file of each tensor");
  }
  std::map<std::string, std::string> promised;  // tensor to file
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !checkpoint::is_file_name(file.get<std::string>()) ||
        !file.get<std::string>().ends_with(".safetensors")) {
      throw CheckpointError(index.path() + ": weight_map: the file of " + in_quotes(tensor) +
                            " is no plain name of a .safetensors file");
    }
    promised.emplace(tensor, file.get<std::string>());
    names.insert(file.get<std::string>());
  }
  for (const std::string& name : names) {
    files_.push_back(std::make_unique<InputFile>(fs, folder + "/" + name));
    const size_t place = files_.size() - 1;
    for (const auto& entry : checkpoint::read_safetensors_header(*files_[place]).entries) {
      const auto found = promised.find(entry.name);
      if (found == promised.end() || found->second != name) {
        throw CheckpointError(files_[place]->path() + ": holds " + in_quotes(entry.name) +
                              ", which " + kIndexName + " does not say of it");
      }
      add(place, entry);
    }
  }
  for (const auto& [tensor, file] : promised) {
    if (tensors_.contains(tensor)) continue;
    throw CheckpointError(folder + "/" + file + ": lacks " + in_quotes(tensor) + ", which " +
                          kIndexName + " says it holds");
  }
}

void WeightFiles::add(size_t file, const SafetensorsEntry& entry) {
  tensors_.emplace(entry.name, Tensor{entry.dtype, entry.shape, file, entry.begin, entry.end});
}

std::string WeightFiles::place_of(const std::string& name) const {
  return files_[tensors_.at(name).file]->path() + ": tensor " + in_quotes(name);
}

void WeightFiles::read(const std::string& name, std::span<float> out) const {
  const Tensor& tensor = tensors_.at(name);
  const InputFile& file = *files_[tensor.file];
  if (tensor.dtype == "F32") {
    file.read(tensor.begin, std::as_writable_bytes(out));
    return;
  }
  if (tensor.dtype != "F16" && tensor.dtype != "BF16") {
    throw CheckpointError(place_of(name) + " is " + tensor.dtype + ", expected F32, F16 or BF16");
  }
  constexpr size_t kAtOnce = size_t{1} << 20;
  std::vector<uint16_t> narrow(std::min(out.size(), kAtOnce));
  for (size_t done = 0; done < out.size(); done += narrow.size()) {
    narrow.resize(std::min(narrow.size(), out.size() - done));
    file.read(tensor.begin + static_cast<int64_t>(done * sizeof(uint16_t)),
              std::as_writable_bytes(std::span(narrow)));
    std::transform(narrow.begin(), narrow.end(), out.begin() + static_cast<std::ptrdiff_t>(done),
                   tensor.dtype == "F16" ? from_half : from_bfloat16);
  }
}

}  // namespace dagpam::huggingface

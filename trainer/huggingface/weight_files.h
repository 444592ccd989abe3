// trainer/huggingface/weight_files.h: the safetensors of a Hugging Face folder, one file or shards
// with an index.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/file_operations.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::huggingface {

inline constexpr char kWeightsName[] = "model.safetensors";
inline constexpr char kIndexName[] = "model.safetensors.index.json";

// Nothing but headers is read until a tensor is asked for; pickle files are never opened. Throws
// CheckpointError naming file and tensor: a header that lies, a shard that is missing, a tensor
// that stands twice or that index and shards do not agree on.
class WeightFiles {
 public:
  WeightFiles(checkpoint::FileSystem& fs, const std::string& folder);

  struct Tensor {
    std::string dtype;
    checkpoint::Shape shape;
    size_t file = 0;
    int64_t begin = 0, end = 0;  // bytes in it
  };
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

  // Of F32, F16 or BF16, widened to float32; out.size() is the number of elements. Throws
  // CheckpointError for another type.
  void read(const std::string& name, std::span<float> out) const;

  // For messages: the file that holds the tensor, and its name.
  std::string place_of(const std::string& name) const;

 private:
  void open_single(checkpoint::FileSystem& fs, const std::string& path);
  void open_shards(checkpoint::FileSystem& fs, const std::string& folder);
  void add(size_t file, const checkpoint::SafetensorsEntry& entry);

  std::vector<std::unique_ptr<checkpoint::InputFile>> files_;
  std::map<std::string, Tensor> tensors_;
};

// A value of IEEE half precision, and of bfloat16, from its bits.
float from_half(uint16_t bits);
float from_bfloat16(uint16_t bits);

}  // namespace dagpam::huggingface

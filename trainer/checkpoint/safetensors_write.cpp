#include <algorithm>
#include <nlohmann/json.hpp>

#include "configs/errors.h"
#include "trainer/checkpoint/safetensors.h"

namespace dagpam::checkpoint {
namespace {

// The header with its length in front, padded with spaces so that the data starts at a multiple
// of 8.
std::string make_header(const std::vector<SafetensorsTensor>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  size_t end = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    const size_t begin = end;
    end += tensor.bytes.size();
    nlohmann::ordered_json& entry = json[tensor.name];
    if (!entry.is_null()) {
      throw CheckpointError("tensor " + in_quotes(tensor.name) + " is given twice for one file");
    }
    entry["dtype"] = tensor.dtype;
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {begin, end};
  }
  std::string text = json.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  if (static_cast<int64_t>(text.size()) > kMaxHeaderBytes) {
    throw CheckpointError("a safetensors header of " + std::to_string(text.size()) +
                          " bytes passes the format's limit: save with more ranks");
  }
  std::string length(8, '\0');
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<char>((text.size() >> (8 * i)) & 0xff);
  }
  return length + text;
}

}  // namespace

void write_safetensors(BlockWriter& out, std::vector<SafetensorsTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  for (const SafetensorsTensor& tensor : tensors) {
    const int64_t width = dtype_bytes(tensor.dtype);
    const std::optional<int64_t> count = elements(tensor.shape);
    int64_t bytes = 0;
    if (width == 0 || !count || __builtin_mul_overflow(*count, width, &bytes) ||
        bytes != static_cast<int64_t>(tensor.bytes.size())) {
      throw CheckpointError("tensor " + in_quotes(tensor.name) + ": " +
                            std::to_string(tensor.bytes.size()) + " bytes are not a " +
                            to_text(tensor.shape) + " of " + in_quotes(tensor.dtype));
    }
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return dtype_bytes(a.dtype) > dtype_bytes(b.dtype);
  });
  out.write(as_bytes(make_header(tensors, metadata)));
  for (const SafetensorsTensor& tensor : tensors) out.write(tensor.bytes);
}

}  // namespace dagpam::checkpoint

#include "parallel/communicator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace dagpam::parallel {

std::vector<std::string> Communicator::all_gather_bytes(const std::string& mine) {
  const auto ranks = static_cast<size_t>(size());
  at::Tensor length = at::empty({1}, at::TensorOptions(at::kLong));
  *length.mutable_data_ptr<int64_t>() = static_cast<int64_t>(mine.size());
  at::Tensor lengths = at::empty({size()}, at::TensorOptions(at::kLong));  // [size]
  all_gather(lengths, length);

  const auto* each = lengths.const_data_ptr<int64_t>();
  const int64_t longest = *std::max_element(each, each + ranks);
  at::Tensor padded = at::zeros({longest}, at::TensorOptions(at::kByte));
  if (!mine.empty()) {
    std::memcpy(padded.mutable_data_ptr<uint8_t>(), mine.data(), mine.size());
  }
  at::Tensor joined = at::empty({size() * longest}, at::TensorOptions(at::kByte));
  all_gather(joined, padded);

  std::vector<std::string> parts(ranks);
  const auto* bytes = reinterpret_cast<const char*>(joined.const_data_ptr<uint8_t>());
  for (size_t rank = 0; rank < ranks; ++rank) {
    parts[rank].assign(bytes + static_cast<int64_t>(rank) * longest,
                       static_cast<size_t>(each[rank]));
  }
  return parts;
}

}  // namespace dagpam::parallel

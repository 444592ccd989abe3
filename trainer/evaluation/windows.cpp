#include "trainer/evaluation/windows.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>

namespace dagpam::trainer {

WindowReader::WindowReader(const data::TokenDataset& data, const WindowOptions& options,
                           at::Device device)
    : data_(data), options_(options), device_(device), documents_(data.document_starts()) {}

std::pair<ForwardInput, at::Tensor> WindowReader::read(const std::vector<int64_t>& starts,
                                                       int64_t length) {
  const auto rows = static_cast<int64_t>(starts.size());
  tokens_.resize(static_cast<size_t>(rows * (length + 1)));
  positions_.clear();
  key_begin_.clear();
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t start = starts[static_cast<size_t>(row)];
    const std::span<int64_t> out(tokens_.data() + row * (length + 1),
                                 static_cast<size_t>(length + 1));
    data_.read(start, out, options_.vocab);
    mark_documents(start, length);
  }
  const at::Tensor all =
      at::from_blob(tokens_.data(), {rows, length + 1}, at::kLong).to(device_);  // [B, N + 1]
  ForwardInput input;
  input.tokens = all.narrow(1, 0, length);  // [B, N]
  if (options_.reset_positions) {
    input.positions = at::from_blob(positions_.data(), {rows, length}, at::kLong).to(device_);
  }
  if (options_.reset_attention) {
    input.key_begin = at::from_blob(key_begin_.data(), {rows, length}, at::kInt).to(device_);
  }
  return {input, all.narrow(1, 1, length)};
}

// Positions and first visible keys of a window's tokens, from the documents they stand in.
void WindowReader::mark_documents(int64_t start, int64_t length) {
  if (!options_.reset_positions && !options_.reset_attention) return;
  for (int64_t i = 0; i < length; ++i) {
    const auto after = std::upper_bound(documents_.begin(), documents_.end(), start + i);
    const int64_t begin = std::max<int64_t>(*(after - 1) - start, 0);
    positions_.push_back(i - begin);
    key_begin_.push_back(static_cast<int32_t>(begin));
  }
}

}  // namespace dagpam::trainer

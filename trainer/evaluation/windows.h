// trainer/evaluation/windows.h: pieces of a split as a model takes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "data/indexed_dataset.h"
#include "trainer/model/transformer_lm.h"

namespace dagpam::trainer {

struct WindowOptions {
  int64_t vocab = 0;                                      // ids from there on are refused
  bool reset_positions = false, reset_attention = false;  // as in DataConfig
};

class WindowReader {
 public:
  // `data` must outlive this.
  WindowReader(const data::TokenDataset& data, const WindowOptions& options, at::Device device);

  // `length` tokens from each of `starts` on, a row each, and as targets the ones that follow them.
  // On the CPU the tensors are good until the next call. Throws DataError past the end of the data.
  std::pair<ForwardInput, at::Tensor> read(const std::vector<int64_t>& starts, int64_t length);

 private:
  void mark_documents(int64_t start, int64_t length);

  const data::TokenDataset& data_;
  WindowOptions options_;
  at::Device device_;
  std::span<const int64_t> documents_;  // their starts
  std::vector<int64_t> tokens_, positions_;
  std::vector<int32_t> key_begin_;
};

}  // namespace dagpam::trainer

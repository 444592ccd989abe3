// trainer/step_inputs.h: batches as the model takes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "data/batch_source.h"
#include "trainer/model/model.h"

namespace dagpam::trainer {

// A micro-batch on a device, and what it says of its step.
struct MicroBatch {
  ForwardInput input;
  at::Tensor targets;  // [B, T]
  bool ends_step = false;
  int64_t step_tokens = 0;  // targets of the step that count, over all ranks; 0: not said
};

// On the CPU tensors are views and stay good as long as the batch; to a GPU they are copied from
// pinned memory, without a host wait, and the batch may change at once.
MicroBatch to_tensors(const data::Batch& batch, at::Device device = at::kCPU);

// The micro-batches of a step, and its keys of dropout, in tensors that stay where they are, for a
// StepGraph.
class StepInputs {
 public:
  // Copies `batch` into place `i`, the first time a new one. Throws c10::Error where it has another
  // shape than the one before.
  void put(size_t i, const MicroBatch& batch);
  const MicroBatch& at(size_t i) const { return kept_.at(i); }
  // Copies keys from the CPU (model.h).
  void put_keys(const at::Tensor& keys, at::Device device);
  const at::Tensor& keys() const { return keys_; }

 private:
  std::vector<MicroBatch> kept_;
  at::Tensor keys_;
};

}  // namespace dagpam::trainer

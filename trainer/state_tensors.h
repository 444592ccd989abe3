// trainer/state_tensors.h: the tensors of a run's state, and which part of them a rank gives to a
// checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "parallel/grid.h"
#include "parallel/parameter.h"
#include "trainer/checkpoint/boxes.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {

// What this rank holds of a tensor of the run's state, under its name in checkpoints: "norm.weight"
// for the parameter, "optimizer.exp_avg.norm.weight" for what the optimizer keeps of it.
struct NamedTensor {
  std::string name;
  at::Tensor value;  // float32, C order
  const parallel::ShardSpec* shard;
  size_t turn;            // the same on every rank: who writes what several hold
  int64_t first_row = 0;  // of `value` in what the rank's shard holds
  bool own_rows = false;  // other copies of the model hold other rows
};

std::vector<NamedTensor> parameters_of(const Model& model);
std::vector<NamedTensor> parameters_of(TrainingStep& step);  // BF16: masters of the rank's own rows
std::vector<NamedTensor> state_of(TrainingStep& step, bool zero);

// Where the tensor lies in the global one, without padding.
checkpoint::Box box_of(const NamedTensor& tensor);

// The part of the tensor that is no padding.
at::Tensor real_part(const NamedTensor& tensor);

// Of a contiguous float32 tensor in host memory.
std::span<std::byte> bytes_of(const at::Tensor& t);

// This rank's share of a save. Its memory is used again by the next one, so a save must have been
// written before the next take().
class Snapshot {
 public:
  // With `copy`, everything is copied to host memory, and the state may change afterwards; without,
  // only what is not contiguous is, and the state must stay as it is until the pieces are written.
  void take(const std::vector<NamedTensor>& state, const parallel::Grid& grid, bool copy);

  const std::vector<checkpoint::TensorPiece>& pieces() const { return pieces_; }

 private:
  at::Tensor to_host(const at::Tensor& part, size_t place, bool copy);

  std::vector<checkpoint::TensorPiece> pieces_;
  std::vector<at::Tensor> memory_;  // by piece; undefined where the piece is a view
};

}  // namespace dagpam::trainer

#include "trainer/state_tensors.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace dagpam::trainer {

using parallel::ShardSpec;

namespace {

// Whether this rank writes its part of a tensor: ranks that hold the same part take turns.
bool is_our_turn(const NamedTensor& tensor, const parallel::Grid& grid) {
  const bool cut = tensor.shard->cut_dim >= 0;
  const auto dp = static_cast<size_t>(grid.dp->rank()), tp = static_cast<size_t>(grid.tp->rank());
  const auto copies = static_cast<size_t>(grid.dp->size()),
             parts = static_cast<size_t>(grid.tp->size());
  const bool copy_writes = tensor.own_rows || tensor.turn % copies == dp;
  return copy_writes && (cut || tensor.turn / copies % parts == tp);
}

// The C library's copy goes past the caches where LibTorch's does not: training waits a tenth less.
void copy_bytes(std::span<const std::byte> from, std::span<std::byte> to) {
  constexpr int64_t kLeast = int64_t{1} << 20;  // bytes a thread
  at::parallel_for(0, std::ssize(from), kLeast, [&](int64_t begin, int64_t end) {
    std::memcpy(&to[static_cast<size_t>(begin)], &from[static_cast<size_t>(begin)],
                static_cast<size_t>(end - begin));
  });
}

}  // namespace

std::vector<NamedTensor> parameters_of(const Model& model) {
  std::vector<NamedTensor> all;
  for (const auto& parameter : model.parameters().all()) {
    all.push_back({parameter->name, parameter->value.detach(), &parameter->shard, all.size()});
  }
  return all;
}

std::vector<NamedTensor> parameters_of(TrainingStep& step) {
  std::vector<NamedTensor> all = parameters_of(step.model());
  if (step.config().train().precision() != configs::TrainConfig::BF16) return all;
  std::map<std::string, size_t> turns;
  for (const NamedTensor& tensor : all) turns.emplace(tensor.name, tensor.turn);
  all.clear();
  for (const parallel::ParameterSlice& slice : step.gradients().slices()) {
    const parallel::Parameter& parameter = *slice.parameter;
    all.push_back({parameter.name, slice.value, &parameter.shard, turns.at(parameter.name),
                   slice.first_row, step.config().parallel().zero() == 1});
  }
  return all;
}

std::vector<NamedTensor> state_of(TrainingStep& step, bool zero) {
  std::vector<NamedTensor> all = parameters_of(step);
  std::map<const parallel::Parameter*, size_t> turns;
  for (const auto& parameter : step.model().parameters().all()) {
    turns.emplace(parameter.get(), turns.size());
  }
  for (const StateTensor& state : step.optimizer().state()) {
    all.push_back({"optimizer." + state.kind + "." + state.parameter->name, state.value,
                   &state.parameter->shard, turns.at(state.parameter.get()), state.first_row,
                   zero});
  }
  return all;
}

checkpoint::Box box_of(const NamedTensor& tensor) {
  const ShardSpec& shard = *tensor.shard;
  checkpoint::Box box{std::vector<int64_t>(shard.global_shape.size(), 0),
                      tensor.value.sizes().vec()};
  if (!box.start.empty()) box.start[0] = tensor.first_row;
  if (shard.cut_dim >= 0) {
    const auto cut = static_cast<size_t>(shard.cut_dim);
    box.start[cut] += shard.offset;
    const int64_t left = std::max<int64_t>(shard.global_shape[cut] - box.start[cut], 0);
    box.shape[cut] = std::min(box.shape[cut], left);
    if (left == 0) box.start[cut] = shard.global_shape[cut];
  }
  return box;
}

at::Tensor real_part(const NamedTensor& tensor) {
  const int dim = tensor.shard->cut_dim;
  return dim < 0 ? tensor.value
                 : tensor.value.narrow(dim, 0, box_of(tensor).shape[static_cast<size_t>(dim)]);
}

std::span<std::byte> bytes_of(const at::Tensor& t) {
  TORCH_CHECK(t.is_contiguous() && t.is_cpu() && t.scalar_type() == at::kFloat,
              "checkpoints hold contiguous float32 tensors, got ", t.sizes());
  return {static_cast<std::byte*>(t.data_ptr()), static_cast<size_t>(t.nbytes())};
}

at::Tensor Snapshot::to_host(const at::Tensor& part, size_t place, bool copy) {
  if (!copy && part.is_cpu() && part.is_contiguous()) return part;
  if (memory_.size() <= place) memory_.resize(place + 1);
  at::Tensor& memory = memory_[place];
  if (!memory.defined() || memory.sizes() != part.sizes()) {
    memory = at::empty(part.sizes(), part.options().device(at::kCPU));
  }
  if (part.is_cpu() && part.is_contiguous()) {
    copy_bytes(bytes_of(part), bytes_of(memory));
  } else {
    memory.copy_(part);
  }
  return memory;
}

void Snapshot::take(const std::vector<NamedTensor>& state, const parallel::Grid& grid, bool copy) {
  pieces_.clear();
  for (const NamedTensor& tensor : state) {
    const at::Tensor part = real_part(tensor);
    const bool padding_alone = part.numel() == 0 && tensor.value.numel() != 0;
    if (padding_alone || !is_our_turn(tensor, grid)) continue;
    pieces_.push_back({tensor.name, "F32", tensor.shard->global_shape, box_of(tensor),
                       bytes_of(to_host(part, pieces_.size(), copy))});
  }
}

}  // namespace dagpam::trainer

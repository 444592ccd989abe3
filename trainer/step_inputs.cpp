#include "trainer/step_inputs.h"

#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

#include <array>
#include <utility>

namespace dagpam::trainer {
namespace {

template <typename T>
at::Tensor view_of(const std::vector<T>& values, std::vector<int64_t> shape) {
  if (values.empty()) return {};
  // Nothing writes through these views: they are inputs of the forward pass alone.
  return at::from_blob(const_cast<T*>(values.data()), shape, c10::CppTypeToScalarType<T>::value);
}

// The pinned copy is the allocator's again when the device has read it.
at::Tensor placed(const at::Tensor& t, at::Device device) {
  if (!t.defined() || device.is_cpu()) return t;
  return (device.is_cuda() ? t.pin_memory() : t).to(device, /*non_blocking=*/true);
}

// All that a batch has, some undefined.
std::array<at::Tensor*, 7> tensors_of(MicroBatch& batch) {
  ForwardInput& in = batch.input;
  return {&in.tokens, &in.positions,      &in.key_begin, &in.samples,
          &in.source, &in.source_lengths, &batch.targets};
}

}  // namespace

MicroBatch to_tensors(const data::Batch& batch, at::Device device) {
  const std::vector<int64_t> shape{batch.rows, batch.context};
  const auto tensor = [&](const auto& values, const std::vector<int64_t>& sizes) {
    return placed(view_of(values, sizes), device);
  };
  MicroBatch out;
  out.input.tokens = tensor(batch.inputs, shape);        // [B, T]
  out.input.positions = tensor(batch.positions, shape);  // [B, T] or undefined
  out.input.key_begin = tensor(batch.key_begin, shape);  // [B, T] or undefined
  out.input.samples = tensor(batch.samples, {batch.rows});
  out.input.source = tensor(batch.source, {batch.rows, batch.source_context});
  out.input.source_lengths = tensor(batch.source_lengths, {batch.rows});
  out.targets = tensor(batch.targets, shape);
  out.ends_step = batch.ends_step;
  out.step_tokens = batch.step_tokens;
  return out;
}

void StepInputs::put(size_t i, const MicroBatch& batch) {
  MicroBatch from = batch;
  if (i == kept_.size()) {
    for (at::Tensor* t : tensors_of(from)) *t = t->defined() ? t->clone() : *t;
    kept_.push_back(std::move(from));
    return;
  }
  MicroBatch& to = kept_.at(i);
  const auto given = tensors_of(from), kept = tensors_of(to);
  for (size_t t = 0; t < kept.size(); ++t) {
    const bool same = given[t]->defined() == kept[t]->defined() &&
                      (!given[t]->defined() || given[t]->sizes() == kept[t]->sizes());
    TORCH_CHECK(same, "micro-batch ", i, ", of tokens ", batch.input.tokens.sizes(),
                ", has another shape than that of the step before, of tokens ",
                to.input.tokens.sizes());
    if (given[t]->defined()) kept[t]->copy_(*given[t], /*non_blocking=*/true);
  }
}

void StepInputs::put_keys(const at::Tensor& keys, at::Device device) {
  if (!keys_.defined()) {
    keys_ = placed(keys, device).clone();
  } else {
    keys_.copy_(placed(keys, device), /*non_blocking=*/true);
  }
}

}  // namespace dagpam::trainer

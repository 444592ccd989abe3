#include "trainer/training_step.h"

#include <ATen/Context.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/div.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "parallel/gradient_buckets.h"
#include "parallel/sharded_gradients.h"
#include "trainer/telemetry/phase.h"

namespace dagpam::trainer {

namespace {

constexpr double kBytesPerMib = 1024.0 * 1024.0;

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

}  // namespace

std::pair<ForwardInput, at::Tensor> to_tensors(const data::Batch& batch, at::Device device) {
  const std::vector<int64_t> shape{batch.rows, batch.context};
  const auto tensor = [&](const auto& values, const std::vector<int64_t>& sizes) {
    return placed(view_of(values, sizes), device);
  };
  ForwardInput input;
  input.tokens = tensor(batch.inputs, shape);        // [B, T]
  input.positions = tensor(batch.positions, shape);  // [B, T] or undefined
  input.key_begin = tensor(batch.key_begin, shape);  // [B, T] or undefined
  input.samples = tensor(batch.samples, {batch.rows});
  return {std::move(input), tensor(batch.targets, shape)};
}

TrainingStep::TrainingStep(const configs::RunConfig& config, const parallel::Grid& grid)
    : config_(config),
      model_(std::make_unique<TransformerLm>(
          config.model(), config.attention(),
          TensorParallel{*grid.tp, config.parallel().sequence_parallel()})),
      schedule_(config.schedule(), config.optimizer().lr()),
      micro_batches_(config.train().global_batch() /
                     (grid.dp->size() * config.train().micro_batch())),
      device_(grid.dp->device()),
      norm_(at::zeros({}, at::TensorOptions(at::kFloat).device(device_))),
      skipped_(at::zeros_like(norm_)),
      one_(at::ones_like(norm_)) {
  // Refuses operators that have no repeatable form; what an operator leaves unwritten is not its
  // concern.
  at::globalContext().setDeterministicAlgorithms(config.train().deterministic(),
                                                 /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  const auto& parameters = model_->parameters();
  parameters.initialise(config.train().seed());
  model_->move_to(device_);
  const auto bytes = static_cast<int64_t>(config.parallel().bucket_mib() * kBytesPerMib);
  if (config.parallel().zero() == 1) {
    gradients_ = std::make_unique<parallel::ShardedGradients>(parameters.all(), *grid.dp, *grid.tp,
                                                              bytes, config.parallel().overlap());
  } else {
    gradients_ = std::make_unique<parallel::GradientBuckets>(parameters.all(), *grid.dp, *grid.tp,
                                                             bytes, config.parallel().overlap());
  }
  optimizer_ = make_optimizer(config.optimizer(), gradients_->slices());
}

at::Tensor TrainingStep::compute_gradients(int64_t step,
                                           const std::function<const data::Batch&()>& next) {
  const DropoutStep dropout{config_.train().seed(), step};
  const double global_tokens =
      static_cast<double>(config_.train().global_batch() * config_.model().context());
  at::Tensor loss = at::zeros_like(norm_);
  gradients_->begin_step();
  for (int64_t i = 0; i < micro_batches_; ++i) {
    const data::Batch& batch = [&]() -> const data::Batch& {
      const Phase phase("data");
      return next();
    }();
    auto [input, targets] = to_tensors(batch, device_);
    input.dropout = &dropout;
    input.recompute = config_.train().recompute();
    const at::Tensor part = [&] {
      const Phase phase("forward");
      return at::mul(model_->losses(input, targets).sum(), 1 / global_tokens);
    }();
    if (i + 1 == micro_batches_) gradients_->reduce_from_now_on();
    const Phase phase("backward");
    part.backward();
    loss.add_(part.detach());
  }
  const Phase phase("reduce");
  gradients_->finish_step();
  norm_ = gradients_->norm();
  return loss;
}

void TrainingStep::update(int64_t step) {
  const Phase phase("update");
  const double clip = config_.optimizer().clip_norm();
  const at::Tensor found_inf = at::isfinite(norm_).logical_not().to(at::kFloat);
  const at::Tensor divisor = clip > 0 ? at::clamp_min(at::div(norm_, clip), 1) : one_;
  optimizer_->step(schedule_.rate(step), divisor, found_inf);
  gradients_->finish_update();
  skipped_.add_(found_inf);
}

}  // namespace dagpam::trainer

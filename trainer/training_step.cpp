#include "trainer/training_step.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "parallel/gradient_buckets.h"
#include "parallel/random.h"
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

at::ScalarType weight_type(const configs::RunConfig& config) {
  return config.train().precision() == configs::TrainConfig::BF16 ? at::kBFloat16 : at::kFloat;
}

// 0 where it differs from step to step.
int64_t micro_batches_of(const configs::RunConfig& config, int64_t copies) {
  const configs::TrainConfig& train = config.train();
  if (config.model().kind() == configs::ModelConfig::ENCODER_DECODER) return 0;
  return train.global_batch() / (copies * train.micro_batch());
}

// Masters start as the numbers that the weights were rounded from.
void initialise_masters(const std::vector<parallel::ParameterSlice>& slices, uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (const parallel::ParameterSlice& slice : slices) {
    const parallel::Parameter& parameter = *slice.parameter;
    if (!parallel::has_master(parameter)) continue;
    const at::Tensor whole = at::empty(parameter.value.sizes(), at::kFloat);
    parallel::initialise(whole, parameter.shard, parameter.init, seed, parameter.name);
    slice.value.copy_(whole.dim() == 0 ? whole
                                       : whole.narrow(0, slice.first_row, slice.value.size(0)));
  }
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
  input.source = tensor(batch.source, {batch.rows, batch.source_context});
  input.source_lengths = tensor(batch.source_lengths, {batch.rows});
  return {std::move(input), tensor(batch.targets, shape)};
}

TrainingStep::TrainingStep(const configs::RunConfig& config, const parallel::Grid& grid)
    : config_(config),
      model_(make_model(config, TensorParallel{*grid.tp, config.parallel().sequence_parallel()},
                        weight_type(config))),
      schedule_(config.schedule(), config.optimizer().lr()),
      micro_batches_(micro_batches_of(config, grid.dp->size())),
      tensor_ranks_(grid.tp->size()),
      device_(grid.dp->device()),
      overlap_(config.parallel().has_overlap() ? config.parallel().overlap() : grid.dp->overlaps()),
      guard_(config.train().bad_step(), *grid.dp),
      norm_(at::zeros({}, at::TensorOptions(at::kFloat).device(device_))),
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
                                                              bytes, overlap_);
  } else {
    gradients_ = std::make_unique<parallel::GradientBuckets>(parameters.all(), *grid.dp, *grid.tp,
                                                             bytes, overlap_);
  }
  initialise_masters(gradients_->slices(), config.train().seed());
  optimizer_ = make_optimizer(config.optimizer(), gradients_->slices());
}

at::Tensor TrainingStep::compute_gradients(int64_t step,
                                           const std::function<const data::Batch&()>& next) {
  const DropoutStep dropout{config_.train().seed(), step};
  const double smoothing = config_.train().label_smoothing();
  const bool pairs = config_.model().kind() == configs::ModelConfig::ENCODER_DECODER;
  at::Tensor loss = at::zeros_like(norm_);
  gradients_->begin_step();
  bool last = false;
  for (int64_t i = 1; !last; ++i) {
    const data::Batch& batch = [&]() -> const data::Batch& {
      const Phase phase("data");
      return next();
    }();
    last = pairs ? batch.ends_step : i == micro_batches_;
    step_tokens_ =
        pairs ? batch.step_tokens : config_.train().global_batch() * config_.model().context();
    auto [input, targets] = to_tensors(batch, device_);
    input.dropout = &dropout;
    input.recompute = config_.train().recompute();
    const at::Tensor part = [&] {
      const Phase phase("forward");
      return at::mul(model_->losses(input, targets, 0, smoothing).sum(),
                     1 / static_cast<double>(step_tokens_));
    }();
    const Phase phase("backward");
    loss.add_(part.detach());
    if (!last) {
      part.backward();
      continue;
    }
    // 1, or not a number where a loss of this rank is not finite: then no gradient is, on any rank.
    const at::Tensor seed = at::mul(loss, 0).add_(1);
    gradients_->reduce_from_now_on();
    part.backward(seed);
  }
  const Phase phase("reduce");
  gradients_->finish_step();
  norm_ = gradients_->norm();
  loss_ = loss;
  return loss;
}

void TrainingStep::update(int64_t step) {
  const Phase phase("update");
  const double clip = config_.optimizer().clip_norm();
  const at::Tensor found_inf = guard_.judge(step, loss_, norm_);
  const at::Tensor divisor = clip > 0 ? at::clamp_min(at::div(norm_, clip), 1) : one_;
  optimizer_->step(schedule_.rate(step), divisor, found_inf);
  gradients_->finish_update(rounding_after(step));
}

parallel::Rounding TrainingStep::rounding_after(int64_t step) const {
  return {config_.train().stochastic_rounding(), config_.train().seed(), step};
}

// Before the first step weights are the nearest to their masters.
void TrainingStep::parameters_loaded(int64_t steps) {
  if (weight_type(config_) != at::kBFloat16) return;
  gradients_->finish_update(steps > 0 ? rounding_after(steps - 1) : parallel::Rounding{});
}

}  // namespace dagpam::trainer

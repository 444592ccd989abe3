#include "trainer/training_step.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "parallel/gradient_buckets.h"
#include "parallel/random.h"
#include "parallel/sharded_gradients.h"

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

}  // namespace

std::pair<ForwardInput, at::Tensor> to_tensors(const data::Batch& batch) {
  const std::vector<int64_t> shape{batch.rows, batch.context};
  ForwardInput input;
  input.tokens = view_of(batch.inputs, shape);        // [B, T]
  input.positions = view_of(batch.positions, shape);  // [B, T] or undefined
  input.key_begin = view_of(batch.key_begin, shape);  // [B, T] or undefined
  input.samples = view_of(batch.samples, {batch.rows});
  return {std::move(input), view_of(batch.targets, shape)};
}

TrainingStep::TrainingStep(const configs::RunConfig& config, const parallel::Grid& grid)
    : config_(config),
      model_(std::make_unique<TransformerLm>(
          config.model(), config.attention(),
          TensorParallel{*grid.tp, config.parallel().sequence_parallel()}, weight_type(config))),
      schedule_(config.schedule(), config.optimizer().lr()),
      micro_batches_(config.train().global_batch() /
                     (grid.dp->size() * config.train().micro_batch())),
      tensor_ranks_(grid.tp->size()),
      overlap_(config.parallel().has_overlap() ? config.parallel().overlap() : grid.dp->overlaps()),
      guard_(config.train().bad_step(), *grid.dp),
      norm_(at::zeros({}, at::kFloat)),
      one_(at::ones({}, at::kFloat)) {
  // Refuses operators that have no repeatable form; what an operator leaves unwritten is not its
  // concern.
  at::globalContext().setDeterministicAlgorithms(config.train().deterministic(),
                                                 /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  const auto& parameters = model_->parameters();
  parameters.initialise(config.train().seed());
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
  const double global_tokens =
      static_cast<double>(config_.train().global_batch() * config_.model().context());
  const double smoothing = config_.train().label_smoothing();
  at::Tensor loss = at::zeros({}, at::kFloat);
  gradients_->begin_step();
  for (int64_t i = 0; i < micro_batches_; ++i) {
    auto [input, targets] = to_tensors(next());
    input.dropout = &dropout;
    input.recompute = config_.train().recompute();
    const at::Tensor part =
        at::mul(model_->losses(input, targets, 0, smoothing).sum(), 1 / global_tokens);
    loss.add_(part.detach());
    if (i + 1 < micro_batches_) {
      part.backward();
      continue;
    }
    // 1, or not a number where a loss of this rank is not finite: then no gradient is, on any rank.
    const at::Tensor seed = at::mul(loss, 0).add_(1);
    gradients_->reduce_from_now_on();
    part.backward(seed);
  }
  gradients_->finish_step();
  norm_ = gradients_->norm();
  loss_ = loss;
  return loss;
}

void TrainingStep::update(int64_t step) {
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

#include "trainer/training_step.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
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

at::ScalarType weight_type(const configs::RunConfig& config) {
  return config.train().precision() == configs::TrainConfig::BF16 ? at::kBFloat16 : at::kFloat;
}

// 0 where it differs from step to step.
int64_t micro_batches_of(const configs::RunConfig& config, int64_t copies) {
  const configs::TrainConfig& train = config.train();
  if (config.model().kind() == configs::ModelConfig::ENCODER_DECODER) return 0;
  return train.global_batch() / (copies * train.micro_batch());
}

std::unique_ptr<parallel::GradientReducer> make_reducer(
    const configs::RunConfig& config, const std::vector<parallel::ParameterPtr>& parameters,
    const parallel::Grid& grid, bool overlap) {
  const auto bytes = static_cast<int64_t>(config.parallel().bucket_mib() * kBytesPerMib);
  if (config.parallel().zero() == 1) {
    return std::make_unique<parallel::ShardedGradients>(parameters, *grid.dp, *grid.tp, bytes,
                                                        overlap);
  }
  return std::make_unique<parallel::GradientBuckets>(parameters, *grid.dp, *grid.tp, bytes,
                                                     overlap);
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

TrainingStep::TrainingStep(const configs::RunConfig& config, const parallel::Grid& grid,
                           std::unique_ptr<StepGraph> graph)
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
      one_(at::ones_like(norm_)),
      graph_(std::move(graph)) {
  const bool alone = grid.dp->size() == 1 && grid.tp->size() == 1;
  if (!graph_ && config.parallel().cuda_graph() && alone) graph_ = make_step_graph(device_);
  if (graph_) outcome_ = {at::zeros_like(norm_), at::zeros_like(norm_)};
  // Refuses operators that have no repeatable form; what an operator leaves unwritten is not its
  // concern.
  at::globalContext().setDeterministicAlgorithms(config.train().deterministic(),
                                                 /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  const auto& parameters = model_->parameters();
  parameters.initialise(config.train().seed());
  model_->move_to(device_);
  // Nodes that accumulate gradients belong to the stream on which they were made: the graph's.
  const auto make_gradients = [&] {
    gradients_ = make_reducer(config, parameters.all(), grid, overlap_);
  };
  graph_ ? graph_->run(make_gradients) : make_gradients();
  initialise_masters(gradients_->slices(), config.train().seed());
  optimizer_ = make_optimizer(config.optimizer(), gradients_->slices());
}

at::Tensor TrainingStep::compute_gradients(int64_t step,
                                           const std::function<const data::Batch&()>& next) {
  if (graph_) {
    accumulate_by_graph(step, next);
    return loss_;
  }
  const Outcome outcome = accumulate({config_.train().seed(), step}, [&](size_t) {
    const Phase phase("data");
    return to_tensors(next(), device_);
  });
  norm_ = outcome.norm;
  loss_ = outcome.loss;
  return loss_;
}

// What a step writes the next one writes too: copies are handed out.
void TrainingStep::accumulate_by_graph(int64_t step,
                                       const std::function<const data::Batch&()>& next) {
  for (size_t i = 0; i < static_cast<size_t>(micro_batches_); ++i) {
    const Phase phase("data");
    inputs_.put(i, to_tensors(next(), device_));
  }
  const uint64_t seed = config_.train().seed();
  inputs_.put_keys(dropout_keys(seed, step, config_.model().layers()), device_);
  const auto work = [this, seed, step] {
    const Outcome made =
        accumulate({seed, step, inputs_.keys()}, [this](size_t i) { return inputs_.at(i); });
    outcome_.loss.copy_(made.loss);
    outcome_.norm.copy_(made.norm);
  };
  if (steps_with_graph_ < kWarmUps) {
    graph_->run(work);
  } else {
    if (steps_with_graph_ == kWarmUps) graph_->record(work);
    const Phase phase("graph");
    graph_->replay();
  }
  ++steps_with_graph_;
  loss_ = outcome_.loss.clone();
  norm_ = outcome_.norm.clone();
}

TrainingStep::Outcome TrainingStep::accumulate(
    const DropoutStep& dropout, const std::function<MicroBatch(size_t)>& micro_batch) {
  const double smoothing = config_.train().label_smoothing();
  const bool pairs = config_.model().kind() == configs::ModelConfig::ENCODER_DECODER;
  at::Tensor loss = at::zeros_like(norm_);
  gradients_->begin_step();
  bool last = false;
  for (size_t i = 0; !last; ++i) {
    MicroBatch batch = micro_batch(i);
    last = pairs ? batch.ends_step : i + 1 == static_cast<size_t>(micro_batches_);
    step_tokens_ =
        pairs ? batch.step_tokens : config_.train().global_batch() * config_.model().context();
    batch.input.dropout = &dropout;
    batch.input.recompute = config_.train().recompute();
    const at::Tensor part = [&] {
      const Phase phase("forward");
      return at::mul(model_->losses(batch.input, batch.targets, 0, smoothing).sum(),
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
  return {loss, gradients_->norm()};
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

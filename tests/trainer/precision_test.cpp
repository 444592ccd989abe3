// BF16 training against plain re-computations, and label smoothing against its formula.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "parallel/master_weights.h"
#include "trainer/model/transformer_lm.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

using Overrides = std::vector<std::string>;

constexpr int64_t kRows = 3, kContext = 16, kVocab = 19;

configs::RunConfig config_of(const Overrides& overrides) {
  configs::RunConfig config = configs::load(
      {}, {"model.layers=2", "model.width=32", "model.heads=4", "model.context=16",
           "model.vocab=19", "train.global_batch=3", "train.micro_batch=3", "attention.kind=DAGPAM",
           "optimizer.clip_norm=0", "train.steps=10", "schedule.kind=CONSTANT"});
  for (const std::string& one : overrides) configs::apply_override(config, one);
  return configs::with_defaults(config);
}

data::Batch batch_of(int64_t number) {
  data::Batch batch;
  batch.rows = kRows;
  batch.context = kContext;
  for (int64_t i = 0; i < kRows; ++i) batch.samples.push_back(kRows * number + i);
  for (int64_t cell = 0; cell < kRows * kContext; ++cell) {
    batch.inputs.push_back((cell * cell + number) % kVocab);
    batch.targets.push_back((cell * cell + 2 * cell + 1 + number) % kVocab);
  }
  return batch;
}

// One rank in training.
struct One {
  explicit One(const Overrides& overrides)
      : config(config_of(overrides)),
        alone(parallel::make_self_communicator()),
        grid(parallel::make_grid(*alone, 1)),
        step(config, grid) {}

  double gradients(int64_t index) {
    data::Batch batch;
    const at::Tensor loss = step.compute_gradients(
        index, [&]() -> const data::Batch& { return batch = batch_of(next++); });
    return loss.item<double>();
  }

  configs::RunConfig config;
  std::unique_ptr<parallel::Communicator> alone;
  parallel::Grid grid;
  TrainingStep step;
  int64_t next = 0;
};

// Gradients of a bfloat16 model of the same weights, by autograd alone, in the order of the slices.
std::vector<at::Tensor> plain_gradients(One& one, int64_t batch_number) {
  const TransformerLm model(one.config.model(), one.config.attention(), {*one.alone},
                            at::kBFloat16);
  const auto& mine = model.parameters().all();
  for (size_t i = 0; i < mine.size(); ++i) {
    const at::NoGradGuard no_grad;
    mine[i]->value.copy_(one.step.model().parameters().all()[i]->value);
  }
  const data::Batch batch = batch_of(batch_number);
  const MicroBatch micro = to_tensors(batch);
  const double tokens = static_cast<double>(one.config.train().global_batch() * kContext);
  model.losses(micro.input, micro.targets).sum().mul(1 / tokens).backward();
  std::vector<at::Tensor> gradients;
  for (const auto& slice : one.step.gradients().slices()) {
    const auto found = model.parameters().find(slice.parameter->name);
    gradients.push_back(found->value.grad());
  }
  return gradients;
}

TEST(Bf16Test, AStepIsThatOfItsParts) {
  One one({"train.precision=BF16"});
  for (int64_t i = 0; i < 3; ++i) {
    const auto expected = plain_gradients(one, i);
    one.gradients(i);
    const auto& slices = one.step.gradients().slices();
    std::vector<at::Tensor> before;
    for (size_t s = 0; s < slices.size(); ++s) {
      EXPECT_EQ(expected[s].scalar_type(), at::kBFloat16);
      EXPECT_TRUE(slices[s].grad.equal(expected[s].to(at::kFloat))) << slices[s].parameter->name;
      before.push_back(slices[s].value.clone());
    }
    one.step.update(i);
    const double rate = one.step.rate(i);
    for (size_t s = 0; s < slices.size(); ++s) {
      const parallel::Parameter& parameter = *slices[s].parameter;
      EXPECT_TRUE(parameter.value.equal(slices[s].value.to(at::kBFloat16))) << parameter.name;
      if (i > 0) continue;
      // Adam's first step moves by the rate, against the gradient's sign, wherever that is not
      // tiny.
      const at::Tensor grad = expected[s].to(at::kDouble), start = before[s].to(at::kDouble);
      const double decay = parameter.decay ? one.config.optimizer().weight_decay() : 0;
      const at::Tensor moved =
          start.mul(1 - rate * decay).sub(grad.div(grad.abs().add(1e-8)), rate);
      EXPECT_LT(slices[s].value.to(at::kDouble).sub(moved).abs().max().item<double>(), 2e-7)
          << parameter.name;
    }
  }
}

TEST(Bf16Test, MicroBatchesAreSummedInFloat32) {
  One one({"train.precision=BF16", "train.global_batch=9"});
  const auto a = plain_gradients(one, 0), b = plain_gradients(one, 1), c = plain_gradients(one, 2);
  one.gradients(0);
  bool rounds = false;
  for (size_t s = 0; s < a.size(); ++s) {
    const at::Tensor sum = a[s].to(at::kFloat).add(b[s]).add(c[s]);
    EXPECT_TRUE(one.step.gradients().slices()[s].grad.equal(sum))
        << one.step.gradients().slices()[s].parameter->name;
    rounds = rounds || !sum.equal(sum.to(at::kBFloat16).to(at::kFloat));
  }
  EXPECT_TRUE(rounds) << "bfloat16 would have held these sums too";
}

TEST(Bf16Test, StartsFromTheNumbersOfFloat32) {
  One narrow({"train.precision=BF16"}), wide({});
  for (const auto& slice : narrow.step.gradients().slices()) {
    const auto same = wide.step.model().parameters().find(slice.parameter->name);
    EXPECT_TRUE(slice.value.equal(same->value.detach())) << same->name;
    EXPECT_TRUE(slice.parameter->value.equal(same->value.to(at::kBFloat16))) << same->name;
  }
  const double loss = wide.gradients(0), rounded = narrow.gradients(0);
  EXPECT_NE(loss, rounded);
  EXPECT_NEAR(loss, rounded, 4e-3 * loss);
}

// A weight is one of the two neighbours of its master, and loading after a step draws the same.
TEST(Bf16Test, StochasticRoundingIsDrawnAgainAfterLoading) {
  One one({"train.precision=BF16", "train.stochastic_rounding=true"});
  for (int64_t i = 0; i < 2; ++i) {
    one.gradients(i);
    one.step.update(i);
  }
  int64_t nearest = 0, all = 0;
  std::vector<at::Tensor> weights;
  for (const auto& slice : one.step.gradients().slices()) {
    const at::Tensor& weight = weights.emplace_back(slice.parameter->value.detach().clone());
    const at::Tensor off = weight.to(at::kFloat).sub(slice.value).abs();
    EXPECT_TRUE(off.le(slice.value.abs().mul(0x1p-7)).all().item<bool>()) << slice.parameter->name;
    nearest += weight.eq(slice.value.to(at::kBFloat16)).sum().item<int64_t>();
    all += weight.numel();
  }
  EXPECT_LT(nearest, all * 9 / 10);
  for (const auto& slice : one.step.gradients().slices()) {
    const at::NoGradGuard no_grad;
    slice.parameter->value.zero_();
  }
  one.step.parameters_loaded(2);
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto& parameter = one.step.gradients().slices()[i].parameter;
    EXPECT_TRUE(parameter->value.equal(weights[i])) << parameter->name;
  }
}

TEST(LabelSmoothingTest, IsTheMeanOverAllSymbols) {
  One plain({}), smooth({"train.label_smoothing=0.3"});
  const data::Batch batch = batch_of(0);
  const MicroBatch micro = to_tensors(batch);
  const auto& model = dynamic_cast<const TransformerLm&>(plain.step.model());
  const at::Tensor logits = model.logits(model.hidden(micro.input)).to(at::kDouble);
  const at::Tensor logs = at::log_softmax(logits, 2);  // [B, N, V]
  const double target = logs.gather(2, micro.targets.unsqueeze(2)).mean().item<double>();
  const double expected = -0.7 * target - 0.3 * logs.mean().item<double>();
  EXPECT_NEAR(plain.gradients(0), -target, 1e-6);
  EXPECT_NEAR(smooth.gradients(0), expected, 1e-6);
  // What evaluation asks for is never smoothed.
  const at::Tensor evaluated = smooth.step.model().losses(micro.input, micro.targets);
  EXPECT_NEAR(evaluated.mean().item<double>(), -target, 1e-6);
}

}  // namespace
}  // namespace dagpam::trainer

// What is not finite on one rank stops the update on every rank: loss, gradient, parameter,
// embedding.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "parallel/grid.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int kSymbols = 19, kContext = 8;

configs::RunConfig config_of(const std::vector<std::string>& overrides) {
  std::vector<std::string> all{
      "model.layers=2",          "model.width=16",        "model.heads=2",
      "model.context=8",         "model.vocab=19",        "attention.kind=DAGPAM",
      "train.global_batch=8",    "train.micro_batch=2",   "train.steps=10",
      "schedule.decay_steps=10", "data.train.0.prefix=x", "parallel.bucket_mib=0.001"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return configs::with_defaults(configs::load({}, all));
}

data::Batch batch_of(int64_t number) {
  data::Batch batch;
  batch.rows = 2;
  batch.context = kContext;
  for (int64_t i = 0; i < batch.rows * kContext; ++i) {
    batch.inputs.push_back((i * 7 + number * 5) % kSymbols);
    batch.targets.push_back((i * 7 + number * 5 + 3) % kSymbols);
  }
  batch.samples = {2 * number, 2 * number + 1};
  return batch;
}

// Copies of all that an update changes, by name.
std::map<std::string, at::Tensor> values_of(TrainingStep& step) {
  std::map<std::string, at::Tensor> all;
  for (const auto& parameter : step.model().parameters().all()) {
    all.emplace(parameter->name, parameter->value.detach().clone());
  }
  for (const StateTensor& state : step.optimizer().state()) {
    all.emplace(state.kind + "." + state.parameter->name, state.value.clone());
  }
  return all;
}

struct Layout {
  int tensor;
  std::vector<std::string> overrides;
};

class BadStepTest : public testing::TestWithParam<Layout> {
 protected:
  // Two good steps, then `spoil` on rank 1, then two more: they must change nothing on any rank,
  // but for the parameter of that name, which `spoil` may have changed.
  static void run(const std::string& name, const std::function<void(at::Tensor&)>& spoil) {
    const auto config = config_of(GetParam().overrides);
    parallel::run_ranks_as_threads(4, [&](parallel::Communicator& world) {
      const parallel::Grid grid = parallel::make_grid(world, GetParam().tensor);
      TrainingStep step(config, grid);
      int64_t number = 100 * grid.dp->rank();
      data::Batch batch;
      const auto next = [&]() -> const data::Batch& { return batch = batch_of(number++); };
      for (int64_t i = 0; i < 2; ++i) {
        step.compute_gradients(i, next);
        step.update(i);
      }
      const auto before = values_of(step);
      ASSERT_EQ(before.count(name), 1U);
      if (world.rank() == 1) {
        const at::NoGradGuard no_grad;
        spoil(step.model().parameters().find(name)->value);
      }
      for (int64_t i = 2; i < 4; ++i) {
        step.compute_gradients(i, next);
        step.update(i);
        EXPECT_EQ(step.guard().first_bad(), 2) << "rank " << world.rank();
      }
      for (const auto& [key, value] : values_of(step)) {
        EXPECT_TRUE(key == name || at::equal(before.at(key), value)) << key;
      }
    });
  }
};

// A parameter of one rank alone: that copy's loss is not finite, the others' are.
TEST_P(BadStepTest, Parameter) {
  run("layers.1.attention_norm.weight", [](at::Tensor& value) { value[3].fill_(kNan); });
}

TEST_P(BadStepTest, Embedding) {
  run("embedding.token.weight", [](at::Tensor& value) { value[0][1].fill_(kNan); });
}

// One element of one micro-batch's gradient on one rank.
TEST_P(BadStepTest, GradientElement) {
  run("layers.0.attention_norm.weight", [](at::Tensor& value) {
    const c10::AutoGradMode with_grad(true);
    value.register_hook([](const at::Tensor& gradient) {
      at::Tensor changed = gradient.clone();
      changed[1].fill_(std::numeric_limits<float>::infinity());
      return changed;
    });
  });
}

// Logits overflow, and with them the loss.
TEST_P(BadStepTest, Logits) {
  run("norm.weight", [](at::Tensor& value) { value.fill_(3e38); });
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, BadStepTest,
    testing::Values(Layout{1, {}}, Layout{1, {"parallel.zero=1"}}, Layout{2, {}},
                    Layout{2, {"parallel.sequence_parallel=true", "parallel.zero=1"}}));

}  // namespace
}  // namespace dagpam::trainer

// A step recorded as a CUDA graph against the same step started operator by operator: the same
// bits. Without a GPU it says so and is skipped.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "configs/run_config.h"
#include "tests/parallel/run_on_gpu.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

const at::Device kGpu(at::kCUDA, 0);
constexpr int64_t kContext = 64, kVocab = 96, kRows = 2;

data::Batch batch_of(int64_t number) {
  data::Batch batch;
  batch.rows = kRows;
  batch.context = kContext;
  batch.samples.assign(kRows, number);
  for (int64_t i = 0; i < kRows * kContext; ++i) {
    batch.inputs.push_back((number * i + 3) % kVocab);
    batch.targets.push_back((number * (i + 1) + 3) % kVocab);
  }
  return batch;
}

struct Seen {
  std::vector<at::Tensor> losses, norms, parameters;
};

Seen train(std::vector<std::string> overrides, bool graph) {
  overrides.insert(overrides.end(), {"model.layers=2", "model.width=128", "model.heads=2",
                                     "model.context=64", "model.vocab=96", "train.micro_batch=2",
                                     "train.steps=12", "schedule.warmup_steps=2"});
  if (graph) overrides.emplace_back("parallel.cuda_graph=true");
  const auto self = parallel::make_self_communicator(kGpu);
  const parallel::Grid grid = parallel::make_grid(*self, 1);
  TrainingStep step(configs::with_defaults(configs::load({}, overrides)), grid);
  EXPECT_EQ(step.has_graph(), graph);
  Seen seen;
  int64_t number = 0;
  data::Batch batch;
  for (int64_t i = 0; i < 10; ++i) {
    seen.losses.push_back(step.compute_gradients(
        i, [&]() -> const data::Batch& { return batch = batch_of(++number); }));
    seen.norms.push_back(step.gradient_norm());
    step.update(i);
  }
  for (const auto& parameter : step.model().parameters().all()) {
    seen.parameters.push_back(parameter->value.detach().cpu());
  }
  return seen;
}

TEST(StepGraphGpu, GivesTheBitsOfStepsWithoutIt) {
  for (const char* kind : {"SOFTMAX", "SOFTMAX_WIDE", "DAGPAM"}) {
    for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
             {"train.global_batch=2"},
             {"train.global_batch=6"},
             {"train.global_batch=2", "train.precision=BF16"},
             {"train.global_batch=6", "train.precision=BF16", "train.recompute=FULL"},
             {"train.global_batch=4", "train.precision=BF16", "train.stochastic_rounding=true"},
             {"train.global_batch=4", "model.dropout=0.2", "model.attention_dropout=0.1"}}) {
      SCOPED_TRACE(kind + testing::PrintToString(more));
      std::vector<std::string> overrides = more;
      overrides.push_back(std::string("attention.kind=") + kind);
      const Seen with = train(overrides, true), without = train(overrides, false);
      for (size_t i = 0; i < with.losses.size(); ++i) {
        EXPECT_EQ(with.losses[i].item<float>(), without.losses[i].item<float>()) << i;
        EXPECT_EQ(with.norms[i].item<float>(), without.norms[i].item<float>()) << i;
      }
      for (size_t p = 0; p < with.parameters.size(); ++p) {
        EXPECT_TRUE(with.parameters[p].equal(without.parameters[p])) << p;
      }
    }
  }
}

// An evaluation between two steps, and its tensors, are none of the graph's.
TEST(StepGraphGpu, LeavesRoomForWhatStandsBetweenSteps) {
  const auto self = parallel::make_self_communicator(kGpu);
  const parallel::Grid grid = parallel::make_grid(*self, 1);
  std::vector<double> losses[2];
  for (const bool between : {false, true}) {
    TrainingStep step(
        configs::with_defaults(configs::load(
            {}, {"model.layers=2", "model.width=128", "model.heads=2", "model.context=64",
                 "model.vocab=96", "train.micro_batch=2", "train.global_batch=2", "train.steps=12",
                 "attention.kind=DAGPAM", "parallel.cuda_graph=true"})),
        grid);
    for (int64_t i = 0; i < 8; ++i) {
      const data::Batch batch = batch_of(i + 1);
      const at::Tensor loss =
          step.compute_gradients(i, [&]() -> const data::Batch& { return batch; });
      step.update(i);
      losses[between].push_back(loss.item<double>());
      if (!between) continue;
      const at::NoGradGuard no_grad;
      const MicroBatch other = to_tensors(batch_of(100 + i), kGpu);
      EXPECT_GT(step.model().losses(other.input, other.targets).sum().item<double>(), 0);
    }
  }
  EXPECT_EQ(losses[0], losses[1]);
}

}  // namespace
}  // namespace dagpam::trainer

int main(int argc, char** argv) { return dagpam::parallel::run_on_gpu(argc, argv); }

// Computing again in backward changes nothing but memory.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "configs/run_config.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

using Overrides = std::vector<std::string>;

class RecomputeTest : public testing::TestWithParam<Overrides> {
 protected:
  struct Outcome {
    double loss = 0;
    std::vector<at::Tensor> gradients, values;
  };

  // Two steps of two micro-batches on every rank; what rank 0 has then.
  static Outcome train(const char* recompute, int ranks) {
    configs::RunConfig config =
        configs::load({}, {"model.layers=3", "model.width=32", "model.heads=4", "model.context=16",
                           "model.vocab=19", "model.dropout=0.2", "model.attention_dropout=0.2",
                           "train.global_batch=6", "train.micro_batch=3", "attention.kind=DAGPAM",
                           std::string("train.recompute=") + recompute,
                           "parallel.tensor=" + std::to_string(ranks)});
    for (const std::string& one : GetParam()) configs::apply_override(config, one);
    config = configs::with_defaults(config);
    Outcome outcome;
    parallel::run_ranks_as_threads(ranks, [&](parallel::Communicator& world) {
      const parallel::Grid grid = parallel::make_grid(world, ranks);
      TrainingStep step(config, grid);
      data::Batch batch;
      batch.rows = 3;
      batch.context = 16;
      int64_t number = 0;
      for (int64_t i = 0; i < 2; ++i) {
        const at::Tensor loss = step.compute_gradients(i, [&]() -> const data::Batch& {
          batch.samples = {3 * number, 3 * number + 1, 3 * number + 2};
          batch.inputs.clear();
          batch.targets.clear();
          for (int64_t cell = 0; cell < 48; ++cell) {
            batch.inputs.push_back((cell * cell + number) % 19);
            batch.targets.push_back((cell * cell + 2 * cell + 1 + number) % 19);
          }
          ++number;
          return batch;
        });
        if (world.rank() == 0 && i == 1) {
          outcome.loss = loss.item<double>();
          for (const auto& slice : step.gradients().slices()) {
            outcome.gradients.push_back(slice.grad.clone());
          }
        }
        step.update(i);
      }
      if (world.rank() != 0) return;
      for (const auto& slice : step.gradients().slices()) {
        outcome.values.push_back(slice.value.clone());
      }
    });
    return outcome;
  }
};

TEST_P(RecomputeTest, GivesTheSameBits) {
  for (const int ranks : {1, 2}) {
    const Outcome kept = train("NONE", ranks);
    for (const char* recompute : {"SELECTIVE", "FULL"}) {
      const Outcome again = train(recompute, ranks);
      EXPECT_EQ(again.loss, kept.loss) << recompute;
      ASSERT_EQ(again.gradients.size(), kept.gradients.size());
      for (size_t i = 0; i < kept.gradients.size(); ++i) {
        EXPECT_TRUE(again.gradients[i].equal(kept.gradients[i])) << recompute << ", slice " << i;
        EXPECT_TRUE(again.values[i].equal(kept.values[i])) << recompute << ", slice " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, RecomputeTest,
    testing::Values(Overrides{}, Overrides{"attention.kind=SOFTMAX"},
                    Overrides{"attention.kind=SOFTMAX_WIDE", "model.positions=ROTARY"},
                    Overrides{"attention.kind=NAP"}, Overrides{"attention.kind=DIFF"},
                    Overrides{"attention.kind=DIFF2"},
                    Overrides{"attention.lambda.scope=MODEL", "attention.lambda.squash=SIGMOID",
                              "attention.lambda.plus=0.5", "attention.lambda.minus=0.5"},
                    Overrides{"attention.path=REFERENCE", "model.norm_position=POST"}));

}  // namespace
}  // namespace dagpam::trainer

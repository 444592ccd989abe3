// Steps whose gradients come from a graph, with a stand-in for it on the CPU: which steps warm up,
// record and repeat, and that what they read and write stays in its place.
#include "trainer/step_graph.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "configs/run_config.h"
#include "trainer/training_step.h"

namespace dagpam::trainer {
namespace {

// Does what was recorded again, as it was recorded: nothing that came later can reach it but
// through tensors.
class Repeater : public StepGraph {
 public:
  explicit Repeater(std::vector<std::string>& calls) : calls_(calls) {}
  void run(const std::function<void()>& work) override {
    calls_.push_back("run");
    work();
  }
  void record(const std::function<void()>& work) override {
    calls_.push_back("record");
    work_ = work;
  }
  void replay() override {
    calls_.push_back("replay");
    work_();
  }

 private:
  std::vector<std::string>& calls_;
  std::function<void()> work_;
};

constexpr int64_t kContext = 8, kVocab = 21;

configs::RunConfig config_of(const std::vector<std::string>& more) {
  std::vector<std::string> overrides{
      "model.layers=2",          "model.width=32",        "model.heads=4",
      "model.context=8",         "model.vocab=21",        "train.micro_batch=2",
      "train.global_batch=2",    "attention.kind=DAGPAM", "optimizer.lr=0.1",
      "schedule.warmup_steps=0", "train.steps=8"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return configs::with_defaults(configs::load({}, overrides));
}

// Another one each time; where they lie is used again.
class Batches {
 public:
  const data::Batch& next() {
    ++number_;
    batch_.rows = 2;
    batch_.context = kContext;
    batch_.samples.assign(2, number_);
    batch_.inputs.assign(2 * kContext, 0);
    batch_.targets = batch_.inputs;
    for (size_t i = 0; i < batch_.inputs.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      batch_.inputs[i] = (number_ * at + 3) % kVocab;
      batch_.targets[i] = (number_ * (at + 1) + 3) % kVocab;
    }
    return batch_;
  }

 private:
  int64_t number_ = 0;
  data::Batch batch_;
};

struct Seen {
  double loss, norm;
  std::vector<at::Tensor> parameters;
};

std::vector<Seen> train(const configs::RunConfig& config, std::vector<std::string>* calls) {
  const auto self = parallel::make_self_communicator();
  const parallel::Grid grid = parallel::make_grid(*self, 1);
  TrainingStep step(config, grid, calls ? std::make_unique<Repeater>(*calls) : nullptr);
  EXPECT_EQ(step.has_graph(), calls != nullptr);
  Batches batches;
  std::vector<Seen> seen;
  std::vector<at::Tensor> losses, norms;
  for (int64_t i = 0; i < 6; ++i) {
    losses.push_back(
        step.compute_gradients(i, [&]() -> const data::Batch& { return batches.next(); }));
    norms.push_back(step.gradient_norm());
    step.update(i);
    seen.emplace_back();
    for (const auto& parameter : step.model().parameters().all()) {
      seen.back().parameters.push_back(parameter->value.detach().clone());
    }
  }
  for (size_t i = 0; i < seen.size(); ++i) {  // read late: each step's own, not the last one's
    seen[i].loss = losses[i].item<double>();
    seen[i].norm = norms[i].item<double>();
  }
  return seen;
}

TEST(StepGraphTest, TrainsAsStepsWithoutItDo) {
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {},
           {"train.global_batch=6"},  // three micro-batches a step
           {"train.precision=BF16", "train.global_batch=4"},
           {"model.dropout=0.3", "model.attention_dropout=0.2", "train.global_batch=4"},
           {"model.dropout=0.3", "train.recompute=FULL"}}) {
    SCOPED_TRACE(testing::PrintToString(more));
    std::vector<std::string> calls;
    const std::vector<Seen> with = train(config_of(more), &calls),
                            without = train(config_of(more), nullptr);
    EXPECT_EQ(calls, (std::vector<std::string>{"run", "run", "run", "run", "record", "replay",
                                               "replay", "replay"}));
    ASSERT_EQ(with.size(), without.size());
    EXPECT_NE(with[0].loss, with[5].loss);
    for (size_t i = 0; i < with.size(); ++i) {
      EXPECT_EQ(with[i].loss, without[i].loss) << i;
      EXPECT_EQ(with[i].norm, without[i].norm) << i;
      for (size_t p = 0; p < with[i].parameters.size(); ++p) {
        EXPECT_TRUE(with[i].parameters[p].equal(without[i].parameters[p])) << i << " " << p;
      }
    }
  }
}

// What a graph would repeat, where the step were an argument.
TEST(StepGraphTest, KeysLieWhereTheyAreReadLater) {
  StepInputs inputs;
  inputs.put_keys(dropout_keys(9, 4, 2), at::kCPU);
  const DropoutStep recorded{9, 4, inputs.keys()};
  inputs.put_keys(dropout_keys(9, 5, 2), at::kCPU);
  for (const auto site : {parallel::DropoutSite::kEmbedding, parallel::DropoutSite::kMlpOut}) {
    EXPECT_EQ(recorded.key(1, site).value, parallel::dropout_key(9, 4, 1, site));
    EXPECT_EQ(parallel::key_on_host(recorded.key(1, site)), parallel::dropout_key(9, 5, 1, site));
  }
}

TEST(StepGraphTest, ACpuHasNone) {
  EXPECT_EQ(make_step_graph(at::kCPU), nullptr);
  const auto self = parallel::make_self_communicator();
  const parallel::Grid grid = parallel::make_grid(*self, 1);
  EXPECT_FALSE(TrainingStep(config_of({"parallel.cuda_graph=true"}), grid).has_graph());
}

TEST(StepInputsTest, AnotherShapeIsRefused) {
  Batches batches;
  StepInputs inputs;
  data::Batch batch = batches.next();
  inputs.put(0, to_tensors(batch));
  const at::Tensor place = inputs.at(0).input.tokens;
  batch.inputs[3] = 20;
  EXPECT_NE(place.view({-1})[3].item<int64_t>(), 20);  // a copy
  inputs.put(0, to_tensors(batch));
  EXPECT_EQ(place.view({-1})[3].item<int64_t>(), 20);  // in the same place
  batch.positions.assign(2 * kContext, 0);
  EXPECT_THROW(inputs.put(0, to_tensors(batch)), c10::Error);
  batch.positions.clear();
  batch.rows = 1;
  EXPECT_THROW(inputs.put(0, to_tensors(batch)), c10::Error);
}

}  // namespace
}  // namespace dagpam::trainer

// Every layout gives the maths of one rank: ranks as threads, tiny models.
#include "trainer/layout_check.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "configs/errors.h"
#include "configs/run_config.h"
#include "data/prepare.h"
#include "tests/data/scratch_folder.h"
#include "trainer/layout.h"
#include "trainer/layout_fault.h"

namespace dagpam::trainer {
namespace {

using Overrides = std::vector<std::string>;

// A data set of 23 symbols, which no group here divides.
class LayoutCheckTest : public testing::TestWithParam<std::pair<const char*, Overrides>> {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<data::ScratchFolder>();
    std::string text;
    for (int i = 0; i < 6000; ++i) text += static_cast<char>('a' + (i * i / 7 + i % 5) % 23);
    data::write_bytes(*folder_ / "train.txt", text);
    data::PrepareOptions options;
    options.train = {*folder_ / "train.txt"};
    options.tokenizer = "char";
    options.out = *folder_ / "text";
    options.progress = nullptr;
    data::prepare(options);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static configs::RunConfig config(const Overrides& overrides) {
    configs::RunConfig config = configs::load(
        {}, {"model.layers=2", "model.width=32", "model.heads=4", "model.context=16",
             "model.dropout=0.1", "model.attention_dropout=0.1", "train.global_batch=12",
             "train.steps=10", "schedule.warmup_steps=2", "parallel.overlap=true",
             "attention.kind=DAGPAM", "data.train.0.prefix=" + (*folder_ / "text")});
    for (const std::string& one : overrides) configs::apply_override(config, one);
    return config;
  }

  // What rank 0 gets.
  static std::vector<LayoutResult> check(const Overrides& overrides,
                                         const std::vector<std::string>& layouts,
                                         const std::string& fault = "") {
    std::vector<LayoutResult> results;
    parallel::run_ranks_as_threads(4, [&](parallel::Communicator& world) {
      auto mine = check_layouts(config(overrides), {layouts, 3, fault}, world);
      if (world.rank() == 0) results = std::move(mine);
    });
    return results;
  }

  static std::unique_ptr<data::ScratchFolder> folder_;
};

std::unique_ptr<data::ScratchFolder> LayoutCheckTest::folder_;

TEST_P(LayoutCheckTest, AllLayoutsAgree) {
  for (const LayoutResult& result :
       check(GetParam().second, {"dp4", "tp2", "tp4", "dp2tp2", "tp4sp", "dp2tp2sp", "dp4zero",
                                 "dp3zero", "dp2tp2zero", "dp2tp2spzero"})) {
    EXPECT_EQ(result.first, "") << result.layout;
    EXPECT_GT(result.gradient.difference, 0) << result.layout << ": nothing was compared";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, LayoutCheckTest,
    testing::Values(
        std::pair{"Dagpam", Overrides{}}, std::pair{"Bf16", Overrides{"train.precision=BF16"}},
        std::pair{"Bf16Drawn", Overrides{"train.precision=BF16", "train.stochastic_rounding=true",
                                         "attention.kind=SOFTMAX", "train.recompute=FULL"}},
        std::pair{"Softmax", Overrides{"attention.kind=SOFTMAX", "train.recompute=FULL"}},
        std::pair{"WideUntiedRms", Overrides{"attention.kind=SOFTMAX_WIDE",
                                             "model.tied_embeddings=false", "model.norm=RMS"}},
        std::pair{"LambdaOfModelRotary",
                  Overrides{"attention.lambda.scope=MODEL", "model.positions=ROTARY",
                            "train.recompute=SELECTIVE"}},
        std::pair{"LambdaOfLayerSwigluPost",
                  Overrides{"attention.lambda.scope=LAYER", "attention.lambda.squash=SOFTPLUS",
                            "model.mlp=SWIGLU", "model.norm_position=POST"}},
        std::pair{"FixedLambdaSinusoidalRelu",
                  Overrides{"attention.lambda.mode=FIXED", "model.positions=SINUSOIDAL",
                            "model.mlp=RELU", "model.bias=false", "parallel.overlap=false"}},
        std::pair{"NoResiduals", Overrides{"model.attention_residual=false",
                                           "model.mlp_residual=false", "train.recompute=FULL"}},
        std::pair{"Non", Overrides{"attention.kind=NON"}},
        std::pair{"NapRotary", Overrides{"attention.kind=NAP", "model.positions=ROTARY",
                                         "train.recompute=SELECTIVE"}},
        std::pair{"CodaBf16", Overrides{"attention.kind=CODA", "train.precision=BF16"}},
        std::pair{"DiffRecomputed",
                  Overrides{"attention.kind=DIFF", "model.heads=8", "train.recompute=SELECTIVE"}},
        std::pair{"Diff2GroupedRotary", Overrides{"attention.kind=DIFF2", "model.heads=8",
                                                  "model.kv_heads=4", "model.positions=ROTARY"}},
        std::pair{"Cog", Overrides{"attention.kind=COG", "model.layers=3", "model.heads=8",
                                   "model.kv_heads=4", "train.recompute=FULL"}},
        std::pair{
            "GroupedQueriesAccumulated",
            Overrides{"model.heads=8", "model.kv_heads=4", "train.global_batch=12",
                      "train.micro_batch=1", "optimizer.clip_norm=0.01", "train.recompute=FULL"}},
        std::pair{
            "NoDropoutSgdReference",
            Overrides{"model.dropout=0", "model.attention_dropout=0", "optimizer.kind=SGD",
                      "optimizer.lr=0.1", "attention.path=REFERENCE", "model.positions=NONE"}}),
    [](const auto& test) { return test.param.first; });

using LayoutFaultTest = LayoutCheckTest;

// Every fault is found under every layout that it can strike, and what strikes one parameter on one
// rank is named with both.
TEST_F(LayoutFaultTest, AreAllFoundAndNamed) {
  EXPECT_GE(layout_faults().size(), 10u);
  for (const LayoutFault& fault : layout_faults()) {
    int struck = 0;
    for (const std::string layout :
         {"dp2", "tp2", "dp2tp2", "tp4", "tp2sp", "dp2tp2sp", "dp2zero", "dp2tp2spzero"}) {
      if (!fault.applies(parse_layout(layout, 4))) continue;
      ++struck;
      const LayoutResult result = check({}, {layout}, fault.name).front();
      EXPECT_FALSE(result.agrees()) << fault.name << ", " << layout;
      EXPECT_NE(
          result.first.find(fault.place == LayoutFault::Place::kStart ? "at step 0" : "at step 1"),
          std::string::npos)
          << fault.name << ", " << layout << ": " << result.first;
      using Place = LayoutFault::Place;
      if (fault.place == Place::kGradient || fault.place == Place::kUpdate ||
          fault.place == Place::kStart) {
        const std::string rank = "(rank " + std::to_string(parse_layout(layout, 4).ranks() - 1);
        EXPECT_NE(result.first.find(rank), std::string::npos) << fault.name << ": " << result.first;
      }
    }
    EXPECT_GE(struck, 2) << fault.name;
  }
}

TEST_F(LayoutFaultTest, ThatCannotStrikeAreRefused) {
  data::expect_message(data::message_of<ConfigError>([] { check({}, {"tp2"}, "dp-drop"); }),
                       {"--inject", "dp-drop", "tp2"});
  data::expect_message(data::message_of<ConfigError>([] { check({}, {"tp2"}, "dropp"); }),
                       {"--inject", "'dropp'", "gather-rotate"});
}

TEST(LayoutTest, WordsAndNumbers) {
  for (const std::string text :
       {"dp1", "dp4", "tp4", "dp2tp2", "tp2sp", "dp2tp2sp", "dp4zero", "dp2tp2spzero"}) {
    EXPECT_EQ(to_string(parse_layout(text, 4)), text);
  }
  EXPECT_EQ(parse_layout("dp2tp1", 4).ranks(), 2);
  for (const std::string text : {"", "dp", "dp0", "tp-1", "sp", "dp2sp", "tp2dp2", "dp2 ", "dp3tp2",
                                 "tp99999999999", "zero", "dp2zerosp", "dp65536tp65536", "2x2"}) {
    EXPECT_THROW(parse_layout(text, 4), ConfigError) << text;
  }
}

TEST(GridConfigTest, WhatDoesNotDivideIsRefusedWithTheNumbers) {
  const auto refusal = [](const Overrides& overrides, int ranks) {
    configs::RunConfig config = configs::load({}, {"model.width=48", "model.heads=6"});
    for (const std::string& one : overrides) configs::apply_override(config, one);
    return data::message_of<ConfigError>([&] { configs::data_parallel_size(config, ranks); });
  };
  using data::expect_message;
  EXPECT_EQ(refusal({"parallel.tensor=2"}, 4), "");
  expect_message(refusal({"parallel.tensor=3"}, 4), {"parallel.tensor", "3", "4 ranks"});
  expect_message(refusal({"parallel.tensor=4"}, 4), {"model.heads", "6", "tensor 4"});
  expect_message(refusal({"parallel.tensor=2", "model.kv_heads=3"}, 4), {"model.kv_heads", "3"});
  expect_message(refusal({"parallel.tensor=2", "model.mlp_width=99"}, 4),
                 {"model.mlp_width", "99"});
  const Overrides odd{"parallel.tensor=2", "model.context=33"};
  EXPECT_EQ(refusal(odd, 4), "");
  expect_message(refusal({odd[0], odd[1], "parallel.sequence_parallel=true"}, 4),
                 {"model.context", "33"});
}

}  // namespace
}  // namespace dagpam::trainer

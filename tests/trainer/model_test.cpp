#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "configs/run_config.h"
#include "trainer/model/transformer_lm.h"
#include "trainer/parameter_counts.h"

namespace dagpam::trainer {
namespace {

using configs::AttentionConfig;
using configs::ModelConfig;
using configs::RunConfig;

RunConfig tiny(const std::vector<std::string>& overrides) {
  RunConfig config = configs::load({}, {"model.layers=2", "model.width=16", "model.heads=4",
                                        "model.context=12", "model.vocab=11"});
  for (const std::string& one : overrides) configs::apply_override(config, one);
  return configs::with_defaults(config);
}

std::unique_ptr<TransformerLm> make(const RunConfig& config) {
  static const auto alone = parallel::make_self_communicator();
  auto model =
      std::make_unique<TransformerLm>(config.model(), config.attention(), TensorParallel{*alone});
  model->parameters().initialise(7);
  return model;
}

at::Tensor tokens(std::vector<int64_t> ids) {
  return at::tensor(ids, at::kLong).view({1, static_cast<int64_t>(ids.size())});
}

const std::vector<int64_t> kText{1, 5, 3, 10, 0, 2, 2, 7, 9, 4};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).abs().max().item<double>();
}

class ModelOptionsTest : public testing::TestWithParam<std::vector<std::string>> {
 protected:
  at::Tensor logits(const TransformerLm& model, const at::Tensor& ids) const {
    ForwardInput input;
    input.tokens = ids;
    return model.logits(model.hidden(input));  // [1, N, V]
  }
};

TEST_P(ModelOptionsTest, CountsItsParametersAsThePlanDoes) {
  const RunConfig config = tiny(GetParam());
  EXPECT_EQ(make(config)->parameters().count(), count_parameters(config).all);
}

TEST_P(ModelOptionsTest, LaterTokensChangeNothingBefore) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  std::vector<int64_t> other = kText;
  other.back() = 8;
  const at::Tensor a = logits(*model, tokens(kText)), b = logits(*model, tokens(other));
  EXPECT_EQ(largest_difference(a.narrow(1, 0, 9), b.narrow(1, 0, 9)), 0);
  EXPECT_GT(largest_difference(a.narrow(1, 9, 1), b.narrow(1, 9, 1)), 0);
}

TEST_P(ModelOptionsTest, CachedStepsGiveTheLogitsOfTheWhole) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  const at::Tensor whole = logits(*model, tokens(kText));
  auto caches = model->make_caches();
  std::vector<at::Tensor> parts;
  for (const auto& [from, count] : {std::pair{0, 4}, {4, 1}, {5, 3}, {8, 1}, {9, 1}}) {
    ForwardInput input;
    input.tokens = tokens(kText).narrow(1, from, count);
    input.caches = &caches;
    parts.push_back(model->logits(model->hidden(input)));
  }
  EXPECT_LT(largest_difference(at::cat(parts, 1), whole), 2e-6);
}

TEST_P(ModelOptionsTest, EveryParameterGetsAGradient) {
  const auto model = make(tiny(GetParam()));
  ForwardInput input;
  input.tokens = tokens(kText).narrow(1, 0, 9);
  const at::Tensor loss = model->losses(input, tokens(kText).narrow(1, 1, 9)).sum();
  // Small initial weights predict nearly evenly.
  EXPECT_NEAR(loss.item<double>() / 9, std::log(11.0), 0.2);
  loss.backward();
  for (const auto& parameter : model->parameters().all()) {
    ASSERT_TRUE(parameter->value.grad().defined()) << parameter->name;
    EXPECT_TRUE(parameter->value.grad().isfinite().all().item<bool>()) << parameter->name;
    // A key's bias shifts all scores of a row alike, which only softmax over them can forget.
    if (parameter->name.find("qkv.bias") == std::string::npos) {
      EXPECT_GT(parameter->value.grad().abs().max().item<double>(), 0) << parameter->name;
    }
  }
}

TEST_P(ModelOptionsTest, DocumentsDoNotSeeEachOther) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  ForwardInput input;
  input.tokens = tokens(kText);
  input.positions = at::cat({at::arange(6, at::kLong), at::arange(4, at::kLong)}).view({1, 10});
  input.key_begin = at::tensor({0, 0, 0, 0, 0, 0, 6, 6, 6, 6}, at::kInt).view({1, 10});
  const at::Tensor both = model->logits(model->hidden(input));
  const at::Tensor alone = logits(*model, tokens(kText).narrow(1, 6, 4));
  EXPECT_LT(largest_difference(both.narrow(1, 6, 4), alone), 2e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Options, ModelOptionsTest,
    testing::Values(
        std::vector<std::string>{}, std::vector<std::string>{"attention.kind=DAGPAM"},
        std::vector<std::string>{"attention.kind=DAGPAM", "attention.lambda.scope=MODEL",
                                 "attention.lambda.squash=SOFTPLUS", "model.bias=false"},
        std::vector<std::string>{"attention.kind=DAGPAM", "attention.lambda.scope=LAYER",
                                 "attention.path=REFERENCE", "model.kv_heads=2"},
        std::vector<std::string>{"attention.kind=DAGPAM", "attention.lambda.mode=FIXED",
                                 "model.positions=ROTARY", "model.kv_heads=1"},
        std::vector<std::string>{"attention.kind=NON", "model.positions=ROTARY"},
        std::vector<std::string>{"attention.kind=NAP", "model.kv_heads=2"},
        std::vector<std::string>{"attention.kind=CODA"},
        std::vector<std::string>{"attention.kind=COG", "model.layers=3"},
        std::vector<std::string>{"attention.kind=DIFF", "model.kv_heads=2"},
        std::vector<std::string>{"attention.kind=DIFF", "model.positions=ROTARY"},
        std::vector<std::string>{"attention.kind=DIFF2", "model.kv_heads=2"},
        std::vector<std::string>{"attention.kind=DIFF2", "model.positions=ROTARY",
                                 "model.bias=false"},
        std::vector<std::string>{"attention.kind=SOFTMAX_WIDE", "model.mlp=SWIGLU",
                                 "model.norm=RMS", "model.positions=ROTARY"},
        std::vector<std::string>{"model.norm_position=POST", "model.mlp=RELU",
                                 "model.positions=SINUSOIDAL"},
        std::vector<std::string>{"model.attention_residual=false", "model.mlp_residual=false"},
        std::vector<std::string>{"attention.kind=DAGPAM", "model.attention_residual=false",
                                 "model.norm_position=POST"},
        std::vector<std::string>{"model.tied_embeddings=false", "model.positions=NONE",
                                 "model.mlp_width=24"}));

// A branch that gives zeros leaves nothing of the tokens where its sum is left out, and all of them
// where it is not.
TEST(TransformerLmTest, ABranchWithoutResidualTakesTheStreamsPlace) {
  const at::NoGradGuard no_grad;
  for (const std::string position : {"PRE", "POST"}) {
    for (const std::string branch : {"attention", "mlp"}) {
      const std::string last = "layers.1." + branch + (branch == "mlp" ? ".down." : ".out.");
      for (const std::string residual : {"true", "false"}) {
        const auto model = make(
            tiny({"model.norm_position=" + position, "model." + branch + "_residual=" + residual}));
        for (const auto& parameter : model->parameters().all()) {
          const std::string& name = parameter->name;
          if (name.starts_with(last)) parameter->value.zero_();
        }
        ForwardInput input;
        input.tokens = tokens(kText);
        const at::Tensor hidden = model->hidden(input);  // [1, N, C]
        const double spread = largest_difference(hidden, hidden.narrow(1, 0, 1));
        if (residual == "true") {
          EXPECT_GT(spread, 0.1) << position << " " << branch;
        } else {
          EXPECT_EQ(spread, 0) << position << " " << branch;
        }
      }
    }
  }
}

TEST(TransformerLmTest, DropoutDoesNotDependOnHowTheBatchIsSplit) {
  const RunConfig config =
      tiny({"model.dropout=0.3", "model.attention_dropout=0.2", "attention.kind=DAGPAM"});
  const auto model = make(config);
  const at::Tensor ids =
      at::cat({tokens(kText), tokens({3, 3, 1, 4, 10, 9, 8, 0, 1, 2})});  // [2, 10]
  const at::Tensor samples = at::tensor({41, 42}, at::kLong);
  const DropoutStep step{7, 5};
  const auto run = [&](int64_t from, int64_t rows) {
    ForwardInput input;
    input.tokens = ids.narrow(0, from, rows);
    input.samples = samples.narrow(0, from, rows);
    input.dropout = &step;
    return model->hidden(input);
  };
  const at::Tensor both = run(0, 2);
  EXPECT_LT(largest_difference(both, at::cat({run(0, 1), run(1, 1)})), 1e-5);
  const DropoutStep later{7, 6};
  ForwardInput input;
  input.tokens = ids;
  input.samples = samples;
  input.dropout = &later;
  EXPECT_GT(largest_difference(both, model->hidden(input)), 0.1);
}

TEST(TransformerLmTest, RefusesMoreTokensThanItsContext) {
  const auto model = make(tiny({}));
  ForwardInput input;
  input.tokens = at::arange(13, at::kLong).view({1, 13}).remainder(11);
  EXPECT_THROW(model->hidden(input), c10::Error);
}

}  // namespace
}  // namespace dagpam::trainer

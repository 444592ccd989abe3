// The encoder-decoder model: padding, causality, its cache, gradients, recomputation, counts.
#include "trainer/model/encoder_decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "configs/run_config.h"
#include "trainer/parameter_counts.h"

namespace dagpam::trainer {
namespace {

using configs::RunConfig;
using Overrides = std::vector<std::string>;

constexpr int64_t kVocab = 13;

RunConfig tiny(const Overrides& overrides) {
  RunConfig config =
      configs::load({}, {"model.kind=ENCODER_DECODER", "model.layers=2", "model.encoder_layers=3",
                         "model.width=16", "model.heads=4", "model.context=12", "model.vocab=13"});
  for (const std::string& one : overrides) configs::apply_override(config, one);
  return configs::with_defaults(config);
}

std::unique_ptr<EncoderDecoder> make(const RunConfig& config) {
  static const auto alone = parallel::make_self_communicator();
  auto model = std::make_unique<EncoderDecoder>(config, TensorParallel{*alone});
  model->parameters().initialise(7);
  return model;
}

at::Tensor row(const std::vector<int64_t>& ids) {
  return at::tensor(ids, at::kLong).view({1, static_cast<int64_t>(ids.size())});
}

at::Tensor lengths(const std::vector<int32_t>& of) { return at::tensor(of, at::kInt); }

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).abs().max().item<double>();
}

// Two pairs of different lengths in one batch, padded with 0.
struct Pairs {
  ForwardInput input;
  at::Tensor targets;
};
Pairs two_pairs() {
  Pairs pairs;
  pairs.input.source = at::cat({row({4, 5, 6, 2, 0, 0, 0}), row({7, 8, 9, 10, 11, 12, 2})});
  pairs.input.source_lengths = lengths({4, 7});
  pairs.input.tokens = at::cat({row({1, 3, 4, 5, 6}), row({1, 9, 8, 0, 0})});
  pairs.targets = at::cat({row({3, 4, 5, 6, 2}), row({9, 8, 2, -100, -100})});
  pairs.input.samples = at::tensor({3, 4}, at::kLong);
  return pairs;
}

// One of them, without its padding.
Pairs alone(int64_t which) {
  const Pairs both = two_pairs();
  const int64_t source = which == 0 ? 4 : 7, target = which == 0 ? 5 : 3;
  Pairs one;
  one.input.source = both.input.source.narrow(0, which, 1).narrow(1, 0, source);
  one.input.source_lengths = both.input.source_lengths.narrow(0, which, 1);
  one.input.tokens = both.input.tokens.narrow(0, which, 1).narrow(1, 0, target);
  one.targets = both.targets.narrow(0, which, 1).narrow(1, 0, target);
  one.input.samples = both.input.samples.narrow(0, which, 1);
  return one;
}

class EncoderDecoderTest : public testing::TestWithParam<Overrides> {};

TEST_P(EncoderDecoderTest, CountsItsParametersAsThePlanDoes) {
  const RunConfig config = tiny(GetParam());
  EXPECT_EQ(make(config)->parameters().count(), count_parameters(config).all);
}

TEST_P(EncoderDecoderTest, PaddingChangesNothing) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  const at::Tensor both = model->losses(two_pairs().input, two_pairs().targets);  // [2, 5]
  for (const int64_t which : {0, 1}) {
    const Pairs one = alone(which);
    const at::Tensor expected = model->losses(one.input, one.targets);
    const at::Tensor found = both.narrow(0, which, 1).narrow(1, 0, expected.size(1));
    EXPECT_LT(largest_difference(found, expected), 2e-6) << which;
  }
  EXPECT_EQ(both.narrow(0, 1, 1).narrow(1, 3, 2).abs().max().item<double>(), 0);
}

TEST_P(EncoderDecoderTest, LaterTargetsChangeNothingBefore) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  Pairs pair = alone(0);
  const at::Tensor before = model->losses(pair.input, pair.targets).clone();
  pair.input.tokens = row({1, 3, 4, 5, 11});
  const at::Tensor after = model->losses(pair.input, pair.targets);
  EXPECT_EQ(largest_difference(before.narrow(1, 0, 4), after.narrow(1, 0, 4)), 0);
  EXPECT_GT(largest_difference(before.narrow(1, 4, 1), after.narrow(1, 4, 1)), 0);
}

TEST_P(EncoderDecoderTest, EverySourceTokenCounts) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  Pairs pair = alone(1);
  const at::Tensor before = model->losses(pair.input, pair.targets).clone();
  for (int64_t i = 0; i < 7; ++i) {
    Pairs other = alone(1);
    other.input.source = pair.input.source.clone();
    other.input.source.mutable_data_ptr<int64_t>()[i] = 3;
    EXPECT_GT(largest_difference(before, model->losses(other.input, other.targets)), 1e-9) << i;
  }
}

// Tokens one by one, or some at a time, for rows of a batch that are named twice.
TEST_P(EncoderDecoderTest, CachedStepsGiveTheLogitsOfTheWhole) {
  const at::NoGradGuard no_grad;
  const auto model = make(tiny(GetParam()));
  const Pairs pairs = two_pairs();
  const at::Tensor encoded = model->encode(pairs.input);
  const auto memory =
      model->remember(encoded, pairs.input.source_lengths).rows(at::tensor({1, 0, 1}, at::kLong));
  const at::Tensor tokens = at::cat({row({1, 9, 8, 7}), row({1, 3, 4, 5}), row({1, 2, 3, 4})});
  auto whole_caches = model->make_caches(), caches = model->make_caches();
  const at::Tensor whole = model->logits(model->decode(tokens, memory, whole_caches));
  std::vector<at::Tensor> parts;
  for (const auto& [from, count] : {std::pair{0, 1}, {1, 2}, {3, 1}}) {
    parts.push_back(model->logits(model->decode(tokens.narrow(1, from, count), memory, caches)));
  }
  EXPECT_LT(largest_difference(at::cat(parts, 1), whole), 2e-6);
  // And they are those of the loss.
  const at::Tensor nll =
      whole.narrow(0, 1, 1).log_softmax(-1).gather(2, row({3, 4, 5, 6}).unsqueeze(2)).neg();
  Pairs pair = alone(0);
  EXPECT_LT(
      largest_difference(nll.squeeze(2), model->losses(pair.input, pair.targets).narrow(1, 0, 4)),
      5e-6);
}

TEST_P(EncoderDecoderTest, EveryParameterGetsAGradient) {
  const auto model = make(tiny(GetParam()));
  const Pairs pairs = two_pairs();
  const at::Tensor loss = model->losses(pairs.input, pairs.targets).sum();
  // Small initial weights predict nearly evenly: 8 targets count.
  EXPECT_NEAR(loss.item<double>() / 8, std::log(static_cast<double>(kVocab)), 0.2);
  loss.backward();
  for (const auto& parameter : model->parameters().all()) {
    ASSERT_TRUE(parameter->value.grad().defined()) << parameter->name;
    EXPECT_TRUE(parameter->value.grad().isfinite().all().item<bool>()) << parameter->name;
    // A key's bias shifts all scores of a row alike, which only softmax over them can forget.
    if (parameter->name.find("kv.bias") == std::string::npos) {
      EXPECT_GT(parameter->value.grad().abs().max().item<double>(), 0) << parameter->name;
    }
  }
}

TEST_P(EncoderDecoderTest, RecomputationGivesTheSameBits) {
  Overrides overrides = GetParam();
  overrides.insert(overrides.end(), {"model.dropout=0.2", "model.attention_dropout=0.1"});
  const auto model = make(tiny(overrides));
  const DropoutStep dropout{5, 2};
  std::vector<std::vector<at::Tensor>> gradients;
  for (const auto recompute :
       {configs::TrainConfig::NONE, configs::TrainConfig::SELECTIVE, configs::TrainConfig::FULL}) {
    Pairs pairs = two_pairs();
    pairs.input.dropout = &dropout;
    pairs.input.recompute = recompute;
    model->losses(pairs.input, pairs.targets).sum().backward();
    gradients.emplace_back();
    for (const auto& parameter : model->parameters().all()) {
      gradients.back().push_back(parameter->value.grad().clone());
      parameter->value.mutable_grad().reset();
    }
  }
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    for (const size_t other : {1, 2}) {
      EXPECT_TRUE(gradients[other][i].equal(gradients[0][i]))
          << model->parameters().all()[i]->name << ", way " << other;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, EncoderDecoderTest,
    testing::Values(
        Overrides{}, Overrides{"attention.kind=DAGPAM"},
        Overrides{"attention.kind=DAGPAM", "attention.lambda.scope=MODEL",
                  "model.shared_embeddings=false"},
        Overrides{"attention.kind=DAGPAM", "cross_attention.kind=SOFTMAX",
                  "encoder_attention.kind=SOFTMAX_WIDE", "model.norm_position=POST"},
        Overrides{"cross_attention.kind=DAGPAM", "cross_attention.lambda.scope=LAYER",
                  "model.positions=SINUSOIDAL", "model.tied_embeddings=false"},
        Overrides{"attention.kind=DIFF", "cross_attention.kind=DIFF2", "model.positions=ROTARY"},
        Overrides{"attention.kind=DIFF2", "cross_attention.kind=DIFF", "model.kv_heads=2"},
        Overrides{"attention.kind=COG", "encoder_attention.kind=NAP", "cross_attention.kind=CODA",
                  "model.mlp=SWIGLU", "model.norm=RMS"},
        Overrides{"attention.kind=NON", "model.bias=false", "model.positions=ROTARY"},
        Overrides{"attention.kind=DAGPAM", "model.mlp_residual=false"}));

TEST(EncoderDecoderModelTest, DropoutDoesNotDependOnHowTheBatchIsSplit) {
  const auto model =
      make(tiny({"model.dropout=0.3", "model.attention_dropout=0.2", "attention.kind=DAGPAM"}));
  const DropoutStep dropout{7, 5};
  Pairs both = two_pairs();
  both.input.dropout = &dropout;
  const at::Tensor together = model->losses(both.input, both.targets);
  const at::Tensor without = model->losses(two_pairs().input, two_pairs().targets);
  EXPECT_GT(largest_difference(together, without), 0.01);
  for (const int64_t which : {0, 1}) {
    Pairs one = alone(which);
    one.input.dropout = &dropout;
    const at::Tensor expected = model->losses(one.input, one.targets);
    EXPECT_LT(
        largest_difference(together.narrow(0, which, 1).narrow(1, 0, expected.size(1)), expected),
        1e-5);
  }
}

TEST(EncoderDecoderModelTest, RefusesMoreTokensThanItsContext) {
  const auto model = make(tiny({}));
  Pairs pair = alone(0);
  pair.input.source = at::arange(13, at::kLong).view({1, 13}).remainder(kVocab);
  pair.input.source_lengths = lengths({13});
  EXPECT_THROW(model->losses(pair.input, pair.targets), c10::Error);
  pair = alone(0);
  pair.input.tokens = at::arange(13, at::kLong).view({1, 13}).remainder(kVocab);
  EXPECT_THROW(model->losses(pair.input, pair.input.tokens), c10::Error);
}

TEST(EncoderDecoderModelTest, ParametersSayWhereTheyStand) {
  const auto model = make(tiny({"attention.kind=DAGPAM", "encoder_attention.kind=SOFTMAX",
                                "cross_attention.lambda.scope=MODEL"}));
  for (const char* const name :
       {"encoder.embedding.token.weight", "encoder.embedding.position.weight",
        "encoder.layers.2.attention.qkv.weight", "encoder.norm.weight",
        "decoder.embedding.position.weight", "decoder.layers.1.attention.w_neg",
        "decoder.layers.1.attention.lambda_plus", "decoder.layers.1.cross_attention.q.weight",
        "decoder.layers.1.cross_attention.kv.weight", "decoder.layers.1.cross_attention.w_neg",
        "decoder.cross_lambda_minus", "decoder.layers.0.cross_attention_norm.bias"}) {
    EXPECT_TRUE(model->parameters().find(name)) << name;
  }
  EXPECT_FALSE(model->parameters().find("decoder.embedding.token.weight"));
  EXPECT_FALSE(model->parameters().find("encoder.layers.0.attention.w_neg"));
}

}  // namespace
}  // namespace dagpam::trainer

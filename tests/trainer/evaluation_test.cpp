#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "configs/run_config.h"
#include "trainer/evaluation/evaluator.h"
#include "trainer/evaluation/generator.h"

namespace dagpam::trainer {
namespace {

constexpr int64_t kVocab = 7, kContext = 8;

std::unique_ptr<TransformerLm> make_model() {
  auto config = configs::with_defaults(
      configs::load({}, {"model.layers=1", "model.width=8", "model.heads=2", "model.context=8",
                         "model.vocab=7", "attention.kind=DAGPAM"}));
  static const auto alone = parallel::make_self_communicator();
  auto model =
      std::make_unique<TransformerLm>(config.model(), config.attention(), TensorParallel{*alone});
  model->parameters().initialise(3);
  for (const auto& parameter : model->parameters().all()) {
    const at::NoGradGuard no_grad;
    parameter->value.mul_(8);  // predictions that differ clearly from even ones
  }
  return model;
}

class TextInMemory : public data::TokenDataset {
 public:
  explicit TextInMemory(int64_t tokens) {
    for (int64_t i = 0; i < tokens; ++i) ids_.push_back((i * i + 3 * i) % kVocab);
  }
  int64_t tokens() const override { return static_cast<int64_t>(ids_.size()); }
  std::span<const int64_t> document_starts() const override { return starts_; }
  std::string digest() const override { return ""; }
  std::string path() const override { return "memory"; }
  void read(int64_t offset, std::span<int64_t> out, int64_t) const override {
    std::copy_n(ids_.begin() + offset, out.size(), out.begin());
  }
  std::vector<int64_t> ids_, starts_{0};
};

// -log p of token i given the tokens from `from` on.
double nll_of(const TransformerLm& model, const TextInMemory& text, int64_t from, int64_t i) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> before(text.ids_.begin() + from, text.ids_.begin() + i);
  ForwardInput input;
  input.tokens = at::from_blob(before.data(), {1, i - from}, at::kLong);
  const at::Tensor last = model.logits(model.hidden(input)).select(1, i - from - 1)[0];
  return -last.log_softmax(0)[text.ids_[static_cast<size_t>(i)]].item<double>();
}

class WindowsTest : public testing::TestWithParam<std::pair<int64_t, int64_t>> {
};  // tokens, stride

TEST_P(WindowsTest, EveryTokenIsPredictedOnceFromItsWindow) {
  const auto [tokens, stride] = GetParam();
  const auto model = make_model();
  const TextInMemory text(tokens);
  double expected = 0;
  for (int64_t i = 1; i < tokens; ++i) {
    // The first window that reaches token i: windows start at multiples of the stride.
    const int64_t over = std::max<int64_t>(0, i - kContext);
    expected += nll_of(*model, text, (over + stride - 1) / stride * stride, i);
  }
  expected /= static_cast<double>(tokens - 1);
  for (const int64_t batch : {1, 3}) {
    EvaluationOptions options;
    options.context = kContext;
    options.stride = stride;
    options.batch = batch;
    parallel::run_ranks_as_threads(1, [&](parallel::Communicator& group) {
      const Evaluation result = evaluate(*model, text, options, group);
      EXPECT_EQ(result.tokens, tokens - 1);
      EXPECT_NEAR(result.nll, expected, 1e-6);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, WindowsTest,
                         testing::Values(std::pair{2, 8}, std::pair{9, 8}, std::pair{10, 8},
                                         std::pair{41, 8}, std::pair{45, 8}, std::pair{45, 3},
                                         std::pair{45, 1}, std::pair{46, 5}, std::pair{12, 7}));

TEST(EvaluatorTest, RanksShareTheWindows) {
  const auto model = make_model();
  const TextInMemory text(83);
  EvaluationOptions options;
  options.context = kContext;
  options.stride = 4;
  options.batch = 2;
  double alone = 0;
  for (const int ranks : {1, 2, 3, 5, 40}) {
    parallel::run_ranks_as_threads(ranks, [&](parallel::Communicator& group) {
      const Evaluation result = evaluate(*model, text, options, group);
      EXPECT_EQ(result.tokens, 82);
      if (ranks == 1) alone = result.nll;
      EXPECT_NEAR(result.nll, alone, 1e-7);
    });
  }
}

TEST(EvaluatorTest, DocumentsMayBeKeptApart) {
  const auto model = make_model();
  TextInMemory text(17);
  text.starts_ = {0, 5, 11};
  EvaluationOptions options;
  options.context = options.stride = kContext;
  options.reset_positions = options.reset_attention = true;
  double expected = 0;
  for (int64_t i = 1; i < 17; ++i) {
    const int64_t input = i - 1;  // the token that predicts i
    const int64_t document = input >= 11 ? 11 : input >= 5 ? 5 : 0;
    expected += nll_of(*model, text, std::max(document, input / kContext * kContext), i);
  }
  const auto self = parallel::make_self_communicator();
  EXPECT_NEAR(evaluate(*model, text, options, *self).nll, expected / 16, 1e-6);
}

TEST(GeneratorTest, GreedyTextTakesTheLikeliestTokenOfTheWhole) {
  const at::NoGradGuard no_grad;
  const auto model = make_model();
  SamplingOptions options;
  options.temperature = 0;
  options.max_tokens = 6;
  std::vector<int32_t> text{3, 1};
  const auto made = generate(*model, text, options);
  for (const int32_t token : made) {
    const std::vector<int64_t> ids(text.begin(), text.end());
    ForwardInput input;
    input.tokens = at::tensor(ids, at::kLong).view({1, -1});
    const at::Tensor last =
        model->logits(model->hidden(input)).select(1, input.tokens.size(1) - 1)[0];
    EXPECT_EQ(token, last.argmax().item<int64_t>());
    text.push_back(token);
  }
}

TEST(GeneratorTest, GoesOnPastTheContext) {
  const auto model = make_model();
  SamplingOptions options;
  options.max_tokens = 50;
  std::vector<int32_t> prompt(20, 2);  // longer than the context
  EXPECT_EQ(generate(*model, prompt, options).size(), 50u);
}

TEST(SampleTokenTest, FollowsTheProbabilities) {
  const at::Tensor logits = at::tensor({0.0f, 1.0f, 2.0f}).view({1, 3});
  SamplingOptions options;
  options.seed = 5;
  std::vector<int> counts(3, 0);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(sample_token(logits, options, i))];
  const double sum = 1 + std::exp(1.0) + std::exp(2.0);
  for (size_t i = 0; i < 3; ++i) {
    const double p = std::exp(static_cast<double>(i)) / sum;
    EXPECT_NEAR(counts[i] / double{kDraws}, p,
                5 * std::sqrt(p * (1 - p) / kDraws));  // five deviations
  }
}

TEST(SampleTokenTest, TopKTopPAndVocabularyCutTheTail) {
  const at::Tensor logits = at::tensor({0.0f, 1.0f, 2.0f, 1.5f}).view({1, 4});
  const auto seen = [&](const SamplingOptions& options) {
    std::set<int64_t> ids;
    for (int i = 0; i < 500; ++i) ids.insert(sample_token(logits, options, i));
    return ids;
  };
  SamplingOptions options;
  options.top_k = 2;
  EXPECT_EQ(seen(options), (std::set<int64_t>{2, 3}));
  options.top_k = 0;
  options.top_p = 0.3;
  EXPECT_EQ(seen(options), (std::set<int64_t>{2}));
  options.top_p = 1;
  options.vocab = 2;
  EXPECT_EQ(seen(options), (std::set<int64_t>{0, 1}));
}

// As a sort by score, then by id, draws: the order decides which token a number falls on.
TEST(SampleTokenTest, DrawsAsASortByScoreAndIdDoes) {
  std::mt19937 random(3);
  std::vector<float> score(700);
  for (float& x : score) x = static_cast<float>(static_cast<int>(random() % 200)) / 16 - 6;
  score[5] = 0.0f;
  score[6] = -0.0f;
  score[9] = -std::numeric_limits<float>::infinity();
  std::vector<int64_t> order(score.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const float x = score[static_cast<size_t>(a)], y = score[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
  const at::Tensor logits = at::from_blob(score.data(), {700}, at::kFloat);
  SamplingOptions options;
  for (int64_t k = 1; k <= 700; k += 37) {
    // All of the first k are drawn alike where the temperature is high, so each is hit in turn.
    options.top_k = k;
    options.temperature = 100;
    std::set<int64_t> seen;
    for (int64_t draw = 0; draw < 40 * k; ++draw) seen.insert(sample_token(logits, options, draw));
    for (const int64_t id : seen) {
      const auto place = std::find(order.begin(), order.end(), id) - order.begin();
      EXPECT_LT(place, k) << id;
    }
    if (k < 40) {
      EXPECT_EQ(static_cast<int64_t>(seen.size()), k);
    }
  }
  options = {};
  options.temperature = 0;
  EXPECT_EQ(sample_token(logits, options, 0), order[0]);
}

// Sequences side by side go as each alone does.
TEST(GeneratorTest, ABatchIsItsRows) {
  const at::NoGradGuard no_grad;
  const auto model = make_model();
  const at::Tensor tokens = at::tensor({3, 1, 4, 2, 6, 5}, at::kLong).view({2, 3});
  auto together = model->make_caches();
  next_logits(*model, tokens.narrow(1, 0, 2), together);
  const at::Tensor both = next_logits(*model, tokens.narrow(1, 2, 1), together);  // [2, V]
  for (int64_t row = 0; row < 2; ++row) {
    auto alone = model->make_caches();
    const at::Tensor one = next_logits(*model, tokens.narrow(0, row, 1), alone)[0];
    EXPECT_LE((both[row] - one).abs().max().item<double>(), 1e-5);
  }
}

}  // namespace
}  // namespace dagpam::trainer

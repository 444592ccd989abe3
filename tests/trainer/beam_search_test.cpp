// Beam search: against greedy decoding, against every text there is, and what it promises.
#include "trainer/evaluation/beam_search.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "configs/run_config.h"

namespace dagpam::trainer {
namespace {

constexpr int32_t kPad = 0, kBegin = 1, kEnd = 2;

// Random weights, large enough that texts differ; `end_bias` makes them end sooner.
std::unique_ptr<EncoderDecoder> make(int64_t vocab, uint64_t seed, int64_t context = 12) {
  static const auto alone = parallel::make_self_communicator();
  configs::RunConfig config =
      configs::load({}, {"model.kind=ENCODER_DECODER", "model.layers=2", "model.width=16",
                         "model.heads=4", "attention.kind=DAGPAM", "model.tied_embeddings=false"});
  config.mutable_model()->set_vocab(vocab);
  config.mutable_model()->set_context(context);
  auto model =
      std::make_unique<EncoderDecoder>(configs::with_defaults(config), TensorParallel{*alone});
  model->parameters().initialise(seed);
  const at::NoGradGuard no_grad;
  for (const auto& parameter : model->parameters().all()) {
    if (parameter->value.dim() >= 2) parameter->value.mul_(12);
  }
  return model;
}

BeamOptions options(int64_t beam) {
  BeamOptions o;
  o.beam = beam;
  o.begin = kBegin;
  o.end = kEnd;
  o.never = {kPad, kBegin};
  return o;
}

const std::vector<std::vector<int32_t>> kSources{
    {4, 5, 6, 7, kEnd}, {3, kEnd}, {9, 8, 7, 6, 5, 4, 3, 8, kEnd}, {kEnd}, {5, 5, 5, kEnd}};

// log p of each token of `text`, then, where the context has room for it, of the end.
std::vector<double> log_probabilities(const EncoderDecoder& model,
                                      const std::vector<int32_t>& source,
                                      const std::vector<int32_t>& text) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> from(source.begin(), source.end()), tokens{kBegin};
  std::vector<int64_t> targets(text.begin(), text.end());
  tokens.insert(tokens.end(), text.begin(), text.end());
  targets.push_back(kEnd);
  const auto room = static_cast<size_t>(model.config().context());
  tokens.resize(std::min(tokens.size(), room));
  targets.resize(tokens.size());
  ForwardInput input;
  input.source = at::tensor(from, at::kLong).unsqueeze(0);
  input.source_lengths = at::tensor({static_cast<int32_t>(from.size())}, at::kInt);
  input.tokens = at::tensor(tokens, at::kLong).unsqueeze(0);
  const at::Tensor losses = model.losses(input, at::tensor(targets, at::kLong).unsqueeze(0));
  std::vector<double> out;
  for (int64_t i = 0; i < losses.size(1); ++i) out.push_back(-losses[0][i].item<double>());
  return out;
}

double penalised(double log_p, int64_t tokens, double penalty) {
  return log_p / std::pow((5 + static_cast<double>(tokens)) / 6, penalty);
}

TEST(BeamSearchTest, BeamOfOneIsGreedy) {
  for (const uint64_t seed : {1, 2, 3}) {
    const auto model = make(11, seed);
    const auto found = translate(*model, kSources, options(1));
    for (size_t s = 0; s < kSources.size(); ++s) {
      std::vector<int32_t> text;
      bool ended = false;
      const auto limit = std::min<size_t>(12, 3 * kSources[s].size() + 10);
      while (!ended && text.size() < limit) {
        // The likeliest next token is the one whose text is likeliest up to it.
        int32_t best = -1;
        double most = -1e300;
        for (int32_t id = kEnd; id < 11; ++id) {
          std::vector<int32_t> longer = text;
          if (id != kEnd) longer.push_back(id);
          const double log_p = log_probabilities(*model, kSources[s], longer)[text.size()];
          if (log_p > most) most = log_p, best = id;
        }
        ended = best == kEnd;
        if (!ended) text.push_back(best);
        if (text.size() == limit) break;
      }
      EXPECT_EQ(found[s].tokens, text) << "seed " << seed << ", source " << s;
      EXPECT_EQ(found[s].ended, ended);
    }
  }
}

TEST(BeamSearchTest, ScoresAreLogProbabilities) {
  const auto model = make(11, 4);
  for (const int64_t beam : {1, 2, 4}) {
    const auto found = translate(*model, kSources, options(beam));
    for (size_t s = 0; s < kSources.size(); ++s) {
      auto expected = log_probabilities(*model, kSources[s], found[s].tokens);
      if (!found[s].ended) expected.resize(found[s].tokens.size());
      double sum = 0;
      for (const double log_p : expected) sum += log_p;
      EXPECT_NEAR(found[s].log_probability, sum, 1e-4) << s;
      EXPECT_NEAR(found[s].score, penalised(found[s].log_probability, std::ssize(expected), 0.6),
                  1e-12);
    }
  }
}

// A beam that is wide enough to lose nothing finds the best text of all up to the limit.
TEST(BeamSearchTest, AWideBeamFindsTheBestText) {
  constexpr int64_t kContext = 3;
  const std::vector<int32_t> words{3, 4, 5, 6, 7, 8, 9};
  for (const uint64_t seed : {5, 6, 7, 8}) {
    const auto model = make(10, seed, kContext);
    const std::vector<int32_t> source{4, kEnd};
    double best = -1e300;
    std::vector<std::vector<int32_t>> texts{{}};
    std::vector<int32_t> expected;
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::vector<int32_t> text = texts[i];
      double log_p = 0;
      for (const double p : log_probabilities(*model, source, text)) log_p += p;
      const double score = penalised(log_p, std::ssize(text) + 1, 0.6);
      if (score > best) best = score, expected = text;
      if (text.size() + 1 >= static_cast<size_t>(kContext)) continue;
      for (const int32_t word : words) {
        texts.push_back(text);
        texts.back().push_back(word);
      }
    }
    const auto found = translate(*model, {source}, options(60));  // there are 57 texts
    EXPECT_TRUE(found[0].ended);
    EXPECT_EQ(found[0].tokens, expected) << "seed " << seed;
    EXPECT_NEAR(found[0].score, best, 1e-4);
  }
}

TEST(BeamSearchTest, TheBatchChangesNothing) {
  const auto model = make(11, 9);
  const auto together = translate(*model, kSources, options(4));
  for (size_t s = 0; s < kSources.size(); ++s) {
    const auto alone = translate(*model, {kSources[s]}, options(4));
    EXPECT_EQ(alone[0].tokens, together[s].tokens) << s;
    EXPECT_NEAR(alone[0].log_probability, together[s].log_probability, 1e-5) << s;
  }
}

TEST(BeamSearchTest, AWiderBeamIsNoWorseHereAndDiffers) {
  int wider = 0;
  for (uint64_t seed = 20; seed < 40; ++seed) {
    const auto model = make(11, seed);
    const auto narrow = translate(*model, kSources, options(1));
    const auto wide = translate(*model, kSources, options(4));
    for (size_t s = 0; s < kSources.size(); ++s) {
      if (wide[s].ended && narrow[s].ended && wide[s].score > narrow[s].score + 1e-9) ++wider;
    }
  }
  EXPECT_GT(wider, 0);
}

TEST(BeamSearchTest, StopsAtItsLimits) {
  const auto model = make(11, 10);
  {
    // The end is never likely.
    const at::NoGradGuard no_grad;
    const auto output = model->parameters().find("output.weight");
    output->value.select(0, kEnd).zero_();
  }
  BeamOptions o = options(2);
  for (const auto& found : translate(*model, kSources, o)) {
    EXPECT_LE(found.tokens.size(), 12u);
    for (const int32_t id : found.tokens) EXPECT_TRUE(id > kEnd);
  }
  o.max_ratio = 0;  // and 10 more
  for (const auto& found : translate(*model, {kSources[0]}, o)) EXPECT_LE(found.tokens.size(), 10u);
}

TEST(BeamSearchTest, LengthPenaltyFavoursLongTexts) {
  double short_ones = 0, long_ones = 0;
  for (uint64_t seed = 50; seed < 60; ++seed) {
    const auto model = make(11, seed);
    BeamOptions o = options(4);
    o.length_penalty = 0;
    for (const auto& found : translate(*model, kSources, o)) {
      short_ones += static_cast<double>(found.tokens.size());
    }
    o.length_penalty = 3;
    for (const auto& found : translate(*model, kSources, o)) {
      long_ones += static_cast<double>(found.tokens.size());
    }
  }
  EXPECT_GT(long_ones, short_ones);
}

TEST(BeamSearchTest, RefusesABeamOfNothing) {
  const auto model = make(11, 11);
  EXPECT_THROW(translate(*model, kSources, options(0)), c10::Error);
  EXPECT_TRUE(translate(*model, {}, options(4)).empty());
}

}  // namespace
}  // namespace dagpam::trainer

// An analysis held against the model's own answers and gradients.
#include "trainer/analysis/analysis.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "configs/run_config.h"
#include "data/char_tokenizer.h"
#include "tests/data/scratch_folder.h"
#include "tests/trainer/checkpoint_fixtures.h"
#include "trainer/analysis/analysis_files.h"
#include "trainer/analysis/sentence_maps.h"

namespace dagpam::trainer {
namespace {

TEST(SpreadStartsTest, FillTheSplitWithoutOverlap) {
  EXPECT_EQ(spread_starts(101, 4, 10), (std::vector<int64_t>{0, 25, 50, 75}));
  EXPECT_EQ(spread_starts(41, 4, 10), (std::vector<int64_t>{0, 10, 20, 30}));
  EXPECT_TRUE(spread_starts(40, 4, 10).empty());  // the last one would have no target
  EXPECT_TRUE(spread_starts(0, 1, 1).empty());
}

class Text : public data::TokenDataset {
 public:
  int64_t tokens() const override { return 60; }
  std::span<const int64_t> document_starts() const override { return starts_; }
  std::string digest() const override { return ""; }
  std::string path() const override { return "memory"; }
  void read(int64_t offset, std::span<int64_t> out, int64_t) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      const int64_t at = offset + static_cast<int64_t>(i);
      out[i] = (at * at / 3 + at) % 11;
    }
  }
  std::vector<int64_t> starts_{0};
};

struct Model {
  explicit Model(const std::vector<std::string>& overrides, at::ScalarType type = at::kDouble) {
    config = configs::load({}, {"model.layers=3", "model.width=16", "model.heads=4",
                                "model.context=12", "model.vocab=11"});
    for (const std::string& one : overrides) configs::apply_override(config, one);
    config = configs::with_defaults(config);
    static const auto alone = parallel::make_self_communicator();
    lm = std::make_unique<TransformerLm>(config.model(), config.attention(), TensorParallel{*alone},
                                         type);
    lm->parameters().initialise(7);
    const at::NoGradGuard no_grad;
    for (const auto& parameter : lm->parameters().all()) {
      if (parameter->value.dim() > 1) parameter->value.mul_(5);  // weights that differ clearly
    }
  }
  WindowReader reader() const { return {text, {.vocab = 11}, at::kCPU}; }

  configs::RunConfig config;
  Text text;
  std::unique_ptr<TransformerLm> lm;
};

class Seen : public Observer {
 public:
  void stream(int64_t blocks, const at::Tensor& x) override {
    EXPECT_EQ(blocks, static_cast<int64_t>(streams.size()));
    streams.push_back(x);
  }
  void attention(int64_t layer, const attention::SeenWeights& weights,
                 const at::Tensor& output) override {
    EXPECT_EQ(layer, static_cast<int64_t>(outputs.size()));
    maps.push_back(weights);
    outputs.push_back(output);
  }
  std::vector<at::Tensor> streams, outputs;
  std::vector<attention::SeenWeights> maps;
};

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

TEST(ObserverTest, SeesWhatTheModelComputes) {
  for (const char* const path : {"REFERENCE", "AUTO"}) {
    const Model model({"attention.kind=DAGPAM", "model.norm_position=POST",
                       "attention.lambda.plus=0.5", "attention.path=" + std::string(path)});
    const at::NoGradGuard no_grad;
    auto reader = model.reader();
    ForwardInput input = reader.read({0, 20}, 12).first;
    const at::Tensor hidden = model.lm->hidden(input);
    Seen seen;
    input.observer = &seen;
    const at::Tensor observed = model.lm->hidden(input);
    ASSERT_EQ(seen.streams.size(), 4u);
    ASSERT_EQ(seen.outputs.size(), 3u);
    EXPECT_EQ(largest(seen.streams[3] - observed), 0);  // POST: no norm behind the last block
    EXPECT_LE(largest(hidden - observed), std::string(path) == "AUTO" ? 1e-12 : 0);
    for (const attention::SeenWeights& map : seen.maps) {
      EXPECT_LE(largest(map.weights - (map.plus * 1.5 - map.minus)), 1e-15);
      EXPECT_LE(largest(map.weights.sum(-1) - 0.5), 1e-14);
    }
  }
}

TEST(ObserverTest, PartsOfBlocks) {
  const Model model({"model.norm_position=POST"});
  const at::NoGradGuard no_grad;
  auto reader = model.reader();
  for (const bool whole : {true, false}) {
    ForwardInput input = reader.read({3}, 12).first;
    Seen seen;
    input.observer = &seen;
    input.parts = whole ? BlockParts::kNoResidual : BlockParts::kAttentionOnly;
    model.lm->hidden(input);
    // Normed behind, attention's answer is the whole of an attention-only block.
    const at::Tensor& y = seen.outputs[1];
    const at::Tensor centred = y - y.mean(-1, true);
    const at::Tensor normed = centred / (centred.square().mean(-1, true) + 1e-5).sqrt();
    const double away = largest(seen.streams[2] - normed);
    EXPECT_EQ(away <= 1e-12, !whole) << away;
  }
}

TEST(ObserverTest, AllTokensMayBeSeen) {
  const Model model({});
  const at::NoGradGuard no_grad;
  auto reader = model.reader();
  ForwardInput input = reader.read({3}, 12).first;
  Seen seen;
  input.observer = &seen;
  input.causal = false;
  model.lm->hidden(input);
  EXPECT_GT(seen.maps[0].weights.min().item<double>(), 0);
}

class AnalysisTest : public testing::TestWithParam<std::vector<std::string>> {};

// Against plain backward, its rows picked by hand.
TEST_P(AnalysisTest, GradientNormsAreThoseOfBackward) {
  const Model model(GetParam());
  auto reader = model.reader();
  const std::vector<int64_t> starts{0, 20, 40};
  const Analysis analysis = analyze(*model.lm, reader, starts, 12, {});
  for (const auto& parameter : model.lm->parameters().all()) {
    EXPECT_FALSE(parameter->value.grad().defined()) << parameter->name;
  }
  const auto [input, targets] = reader.read(starts, 12);
  const at::Tensor loss = model.lm->losses(input, targets).mean();
  loss.backward();
  EXPECT_NEAR(analysis.nll, loss.item<double>(), 1e-12);
  const configs::ModelConfig& config = model.config.model();
  const int64_t head_width = config.width() / config.heads();
  const bool two = model.config.attention().kind() == configs::AttentionConfig::DIFF2;
  const int64_t each = (two ? 2 : 1) * config.heads() / config.kv_heads() * head_width;
  for (size_t i = 0; i < 3; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".attention.";
    const at::Tensor all = model.lm->parameters().find(prefix + "qkv.weight")->value.grad();
    double squares = 0;
    for (int64_t row = 0; row < all.size(0); ++row) {
      const bool is_query = row % (each + 2 * head_width) < each;
      if (is_query) squares += all[row].square().sum().item<double>();
    }
    EXPECT_NEAR(analysis.layers[i].query_gradient, std::sqrt(squares), 1e-12);
    EXPECT_GT(squares, 0);
    const auto w_neg = model.lm->parameters().find(prefix + "w_neg");
    ASSERT_EQ(analysis.layers[i].w_neg_gradient.has_value(), w_neg != nullptr);
    if (w_neg) {
      EXPECT_NEAR(*analysis.layers[i].w_neg_gradient, w_neg->value.grad().norm().item<double>(),
                  1e-12);
    }
  }
}

TEST_P(AnalysisTest, MeasuresAreThoseOfWhatAnObserverSees) {
  const Model model(GetParam());
  auto reader = model.reader();
  AnalysisOptions options;
  options.include_first = false;
  const Analysis analysis = analyze(*model.lm, reader, {0, 20}, 12, options);
  Seen seen;
  {
    const at::NoGradGuard no_grad;
    ForwardInput input = reader.read({0, 20}, 12).first;
    input.observer = &seen;
    model.lm->hidden(input);
  }
  const auto expect_same = [](const CollapseSpread& found, const at::Tensor& x) {
    std::vector<double> ratios, cosines;
    for (int64_t b = 0; b < 2; ++b) {
      const Collapse one = collapse_of(x[b].narrow(0, 1, 11));
      ratios.push_back(one.ratio_1inf);
      cosines.push_back(one.cosine);
    }
    EXPECT_NEAR(found.ratio_1inf.mean, spread_of(ratios).mean, 1e-12);
    EXPECT_NEAR(found.ratio_1inf.deviation, spread_of(ratios).deviation, 1e-12);
    EXPECT_NEAR(found.cosine.mean, spread_of(cosines).mean, 1e-12);
  };
  expect_same(analysis.embeddings, seen.streams[0]);
  for (size_t i = 0; i < 3; ++i) {
    expect_same(analysis.layers[i].stream, seen.streams[i + 1]);
    expect_same(analysis.layers[i].attention_output, seen.outputs[i]);
    MapSummary map;
    map.add(seen.maps[i].weights, seen.maps[i].visible, 1);
    EXPECT_NEAR(analysis.layers[i].weights.entropy, map.statistics().entropy, 1e-12);
    EXPECT_NEAR(analysis.layers[i].weights.min, map.statistics().min, 1e-12);
    EXPECT_EQ(analysis.layers[i].plus.has_value(), seen.maps[i].plus.defined());
    EXPECT_EQ(analysis.layers[i].plus.has_value(), analysis.layers[i].minus.has_value());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, AnalysisTest,
    testing::Values(std::vector<std::string>{},
                    std::vector<std::string>{"attention.kind=DAGPAM", "model.kv_heads=2"},
                    std::vector<std::string>{"attention.kind=SOFTMAX_WIDE", "model.mlp=SWIGLU",
                                             "model.positions=ROTARY"},
                    std::vector<std::string>{"attention.kind=NAP", "model.norm=RMS"},
                    std::vector<std::string>{"attention.kind=COG"},
                    std::vector<std::string>{"attention.kind=DIFF", "model.kv_heads=2"},
                    std::vector<std::string>{"attention.kind=DIFF2", "model.kv_heads=2"}));

TEST(AnalysisTest, OfACopyInFloat32) {
  const Model model({"attention.kind=DAGPAM"});
  const auto alone = parallel::make_self_communicator();
  const auto copy = copy_model(*model.lm, model.config.attention(), *alone, at::kFloat);
  auto reader = model.reader();
  const Analysis wide = analyze(*model.lm, reader, {0, 20}, 12, {});
  const Analysis narrow = analyze(*copy, reader, {0, 20}, 12, {});
  EXPECT_NEAR(narrow.nll, wide.nll, 1e-5);
  EXPECT_NEAR(narrow.layers[2].stream.ratio_1inf.mean, wide.layers[2].stream.ratio_1inf.mean, 1e-5);
}

TEST(AnalysisFilesTest, HaveARowALayer) {
  const Model model({"attention.kind=DAGPAM", "attention.lambda.minus=0.25"});
  auto reader = model.reader();
  const Analysis analysis = analyze(*model.lm, reader, {0}, 12, {});
  const checkpoint::testing::TemporaryFolder folder;
  const AnalysisSource source{model.config, "runs/a", 7, "data/x", "valid", "float64", 1};
  const auto paths = write_analysis(analysis, source, folder.path());
  ASSERT_EQ(paths.size(), 8u);
  const auto json = nlohmann::json::parse(data::read_bytes(folder.path() + "/analysis.json"));
  EXPECT_EQ(json["step"], 7);
  EXPECT_EQ(json["attention"], "DAGPAM");
  EXPECT_EQ(json["stack"], "full");
  EXPECT_EQ(json["sight"], "causal");
  EXPECT_EQ(json["first_position"], true);
  EXPECT_EQ(json["stream"].size(), 4u);
  EXPECT_EQ(json["stream"][3]["layer"], 3);
  EXPECT_EQ(json["stream"][0]["cosine_mean"], analysis.embeddings.cosine.mean);
  EXPECT_TRUE(json["stream"][0]["cosine_deviation"].is_null());  // of one sequence
  EXPECT_EQ(json["attention_output"].size(), 3u);
  EXPECT_EQ(json["weights_minus"].size(), 3u);
  EXPECT_EQ(json["lambdas"].size(), 12u);
  EXPECT_EQ(json["lambdas"][5],
            nlohmann::json({{"layer", 2}, {"head", 1}, {"plus", 1.0}, {"minus", 0.25}}));
  EXPECT_EQ(json["gradients"][2]["query"], analysis.layers[2].query_gradient);

  const std::string csv = data::read_bytes(folder.path() + "/gradients.csv");
  EXPECT_EQ(csv.substr(0, csv.find('\n')), "layer,query,w_neg");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4);
  const std::string stream = data::read_bytes(folder.path() + "/stream.csv");
  EXPECT_EQ(std::count(stream.begin(), stream.end(), '\n'), 5);
  EXPECT_EQ(stream.find("null"), std::string::npos);

  const Model plain({});
  auto other = plain.reader();
  const auto tables = tables_of(analyze(*plain.lm, other, {0}, 12, {}));
  ASSERT_EQ(tables.size(), 4u);  // no second map, no lambdas
  EXPECT_EQ(tables.back().rows[0][2], std::nullopt);
}

TEST(SentenceMapsTest, AreTheWeightsOfEachHead) {
  const Model model({"attention.kind=DAGPAM"});
  const data::CharTokenizer tokenizer(U"abcdefghijk");
  const auto maps = sentence_maps(*model.lm, model.config.attention(), tokenizer, "head");
  EXPECT_EQ(maps["tokens"], (std::vector<std::string>{"h", "e", "a", "d"}));
  ASSERT_EQ(maps["maps"].size(), 12u);
  const auto& one = maps["maps"][5];
  EXPECT_EQ(one["layer"], 2);
  EXPECT_EQ(one["head"], 1);
  for (size_t n = 0; n < 4; ++n) {
    double sum = 0;
    for (size_t m = 0; m < 4; ++m) {
      const double a = one["weights"][n][m], plus = one["plus"][n][m], minus = one["minus"][n][m];
      EXPECT_NEAR(a, 2 * plus - minus, 2e-5);
      if (m > n) {
        EXPECT_EQ(a, 0);
      }
      sum += a;
    }
    EXPECT_NEAR(sum, 1, 2e-5);
  }
  EXPECT_THROW(sentence_maps(*model.lm, model.config.attention(), tokenizer, ""), ConfigError);
  EXPECT_THROW(sentence_maps(*model.lm, model.config.attention(), tokenizer, "abcdefghijkab"),
               ConfigError);
}

}  // namespace
}  // namespace dagpam::trainer

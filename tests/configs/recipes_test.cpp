// The recipes: all load, all are valid, and those that compare attentions differ in nothing else.
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

namespace fs = std::filesystem;

const std::string kFolder = DAGPAM_SOURCE_DIR "/configs/recipes";

std::string path_of(const std::string& recipe) { return kFolder + "/" + recipe + ".textproto"; }

std::set<std::string> recipes() {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    EXPECT_EQ(entry.path().extension(), ".textproto") << entry.path();
    names.insert(entry.path().stem().string());
  }
  return names;
}

const std::vector<std::vector<std::string>>& families() {
  static const std::vector<std::vector<std::string>> all = [] {
    std::vector<std::vector<std::string>> out = {
        {"kjv_tiny_softmax", "kjv_tiny"},
        {"shakespeare_char_cpu", "shakespeare_char_cpu_softmax_wide",
         "shakespeare_char_cpu_dagpam_trained", "shakespeare_char_cpu_dagpam_fixed"},
        {"shakespeare_char"},
        {"gpt2_124m_softmax", "gpt2_124m_dagpam"},
        {"gpt2_1p5b_dagpam"},
        {"pairs_smoke"}};
    for (const std::string stem : {"multi30k_pre", "multi30k_post", "iwslt14", "wmt14"}) {
      out.push_back({stem + "_softmax", stem + "_dagpam"});
    }
    for (const std::string stem : {"ptb_15l", "wikitext2_8l", "wikitext103_8l", "bytes100m"}) {
      out.push_back({stem + "_softmax", stem + "_softmax_wide", stem + "_dagpam_trained",
                     stem + "_dagpam_fixed"});
    }
    return out;
  }();
  return all;
}

TEST(RecipesTest, AreThese) {
  std::set<std::string> expected;
  for (const auto& family : families()) expected.insert(family.begin(), family.end());
  EXPECT_EQ(recipes(), expected);
}

TEST(RecipesTest, AreValidOnTwoRanks) {
  for (const std::string& recipe : recipes()) {
    SCOPED_TRACE(recipe);
    const RunConfig config = load({path_of(recipe)}, {});
    EXPECT_NO_THROW(validate(config));
    EXPECT_NO_THROW(validate(with_defaults(config)));
    EXPECT_GE(micro_batch(config, 2), 1);
    EXPECT_FALSE(config.data().train(0).prefix().starts_with("/"));
  }
}

TEST(RecipesTest, SayHowToRunThem) {
  for (const std::string& recipe : recipes()) {
    std::ifstream in(path_of(recipe));
    std::stringstream text;
    text << in.rdbuf();
    EXPECT_TRUE(contains(text.str(), "# ")) << recipe;
    const bool pairs = load({path_of(recipe)}, {}).model().kind() == ModelConfig::ENCODER_DECODER;
    const std::string command = pairs ? "dagpam data pairs --train" : "dagpam data prepare --train";
    EXPECT_TRUE(contains(text.str(), command)) << recipe;
    EXPECT_TRUE(contains(text.str(), "train --config configs/recipes/" + recipe + ".textproto"));
  }
}

TEST(RecipesTest, FamiliesDifferInTheAttentionBlockAlone) {
  for (const auto& family : families()) {
    const RunConfig first = load({path_of(family.front())}, {});
    for (size_t i = 1; i < family.size(); ++i) {
      const auto differing = differing_fields(first, load({path_of(family[i])}, {}));
      EXPECT_FALSE(differing.empty()) << family[i];
      for (const std::string& field : differing) {
        EXPECT_TRUE(field.starts_with("attention.")) << family[i] << ": " << field;
      }
    }
  }
}

TEST(RecipesTest, NamesSayTheAttention) {
  const std::map<std::string, std::pair<AttentionConfig::Kind, LambdaConfig::Mode>> endings = {
      {"_softmax", {AttentionConfig::SOFTMAX, LambdaConfig::TRAINED}},
      {"_softmax_wide", {AttentionConfig::SOFTMAX_WIDE, LambdaConfig::TRAINED}},
      {"_dagpam", {AttentionConfig::DAGPAM, LambdaConfig::TRAINED}},
      {"_dagpam_trained", {AttentionConfig::DAGPAM, LambdaConfig::TRAINED}},
      {"_dagpam_fixed", {AttentionConfig::DAGPAM, LambdaConfig::FIXED}}};
  for (const std::string& recipe : recipes()) {
    const RunConfig config = load({path_of(recipe)}, {});
    for (const auto& [ending, meaning] : endings) {
      if (!recipe.ends_with(ending)) continue;
      EXPECT_EQ(config.attention().kind(), meaning.first) << recipe;
      EXPECT_EQ(config.attention().lambda().mode(), meaning.second) << recipe;
    }
  }
}

// What the small Shakespeare run is compared with elsewhere fixes these.
TEST(RecipesTest, ShakespeareOnACpuHasThePublishedHyperParameters) {
  const RunConfig config = with_defaults(load({path_of("shakespeare_char_cpu")}, {}));
  EXPECT_EQ(config.model().layers(), 4);
  EXPECT_EQ(config.model().heads(), 4);
  EXPECT_EQ(config.model().width(), 128);
  EXPECT_EQ(config.model().mlp_width(), 512);
  EXPECT_EQ(config.model().context(), 64);
  EXPECT_EQ(config.model().dropout(), 0);
  EXPECT_FALSE(config.model().bias());
  EXPECT_TRUE(config.model().tied_embeddings());
  EXPECT_EQ(config.attention().kind(), AttentionConfig::SOFTMAX);
  EXPECT_EQ(config.train().global_batch(), 12);
  EXPECT_EQ(config.train().steps(), 2000);
  EXPECT_EQ(config.optimizer().lr(), 1e-3);
  EXPECT_EQ(config.optimizer().betas(1), 0.99);
  EXPECT_EQ(config.schedule().warmup_steps(), 100);
  EXPECT_EQ(config.schedule().final_ratio(), 0.1);
}

}  // namespace
}  // namespace dagpam::configs

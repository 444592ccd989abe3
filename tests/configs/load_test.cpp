// Files over files: what a later one says holds, also where it says 0, false or an empty list.
#include <google/protobuf/util/message_differencer.h>

#include <limits>

#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

class LoadTest : public testing::Test {
 protected:
  RunConfig load_texts(const std::vector<std::string>& texts) {
    std::vector<std::string> files;
    files.reserve(texts.size());
    for (const std::string& text : texts) {
      files.push_back(folder_.file(std::to_string(files.size()), text));
    }
    return load(files, {});
  }
  TempFolder folder_;
};

TEST_F(LoadTest, SetsOnlyWhatIsWritten) {
  const RunConfig config = load_texts({"model { layers: 7 }"});
  EXPECT_EQ(print(config), "model {\n  layers: 7\n}\n");
  EXPECT_EQ(print(load_texts({""})), "");
  EXPECT_EQ(print(load({}, {})), "");
}

TEST_F(LoadTest, LaterFileOverridesFieldByField) {
  const RunConfig config = load_texts({"model { layers: 7 width: 64 } optimizer { lr: 0.5 }",
                                       "model { layers: 3 } train { steps: 5 }"});
  EXPECT_EQ(config.model().layers(), 3);
  EXPECT_EQ(config.model().width(), 64);
  EXPECT_EQ(config.optimizer().lr(), 0.5);
  EXPECT_EQ(config.train().steps(), 5);
}

TEST_F(LoadTest, ZeroAndFalseSurviveTheOverlayAndTheDefaults) {
  const RunConfig config = with_defaults(
      load_texts({"model { dropout: 0.3 tied_embeddings: true } optimizer { clip_norm: 5 }",
                  "model { dropout: 0 tied_embeddings: false } optimizer { clip_norm: 0 }"}));
  EXPECT_EQ(config.model().dropout(), 0);
  EXPECT_FALSE(config.model().tied_embeddings());
  EXPECT_EQ(config.optimizer().clip_norm(), 0);
}

TEST_F(LoadTest, ListsReplace) {
  const std::string first =
      "data { train { prefix: 'a' } train { prefix: 'b' } valid: 'v' } "
      "optimizer { betas: [0.9, 0.95] }";
  const RunConfig config = load_texts(
      {first, "data { train { prefix: 'c' weight: 2 } } optimizer { betas: [0.8, 0.99] }"});
  ASSERT_EQ(config.data().train_size(), 1);
  EXPECT_EQ(config.data().train(0).prefix(), "c");
  EXPECT_EQ(config.data().valid(), "v");
  ASSERT_EQ(config.optimizer().betas_size(), 2);
  EXPECT_EQ(config.optimizer().betas(0), 0.8);
  // A file that says nothing about a list leaves it; an empty list empties it.
  EXPECT_EQ(load_texts({first, "data { valid: 'w' }"}).data().train_size(), 2);
  EXPECT_EQ(load_texts({first, "data { train: [] }"}).data().train_size(), 0);
}

TEST_F(LoadTest, ListOfOneFileMayBeWrittenInParts) {
  const RunConfig config = load_texts({"data { train { prefix: 'a' } train { prefix: 'b' } }"});
  EXPECT_EQ(config.data().train_size(), 2);
  EXPECT_EQ(load_texts({"data { train: [{prefix: 'a'}, {prefix: 'b'}] }"}).data().train_size(), 2);
}

TEST_F(LoadTest, LaterLengthReplacesTheEarlierKindOfLength) {
  const RunConfig config = load_texts({"train { steps: 5 }", "train { epochs: 1.5 }"});
  EXPECT_FALSE(config.train().has_steps());
  EXPECT_EQ(config.train().epochs(), 1.5);
}

TEST_F(LoadTest, EmptyPrefixTakesTheInheritedOneBack) {
  const RunConfig config = load_texts({kGood, "data { valid: '' }"});
  EXPECT_FALSE(with_defaults(config).data().has_valid());
  validate(config);
}

TEST_F(LoadTest, CommentsByteOrderMarksAndOtherLineEndsAreRead) {
  const std::string text = "\xEF\xBB\xBF# first\r\nmodel {\r\n  layers: 3  # blocks\r\n}\r\n";
  EXPECT_EQ(load_texts({text}).model().layers(), 3);
}

TEST_F(LoadTest, OverridesComeLastAndInOrder) {
  const std::string file = folder_.file("a", "model { layers: 2 }");
  EXPECT_EQ(load({file}, {"model.layers=3", "model.layers=4"}).model().layers(), 4);
}

TEST_F(LoadTest, ErrorNamesTheFileThatHasIt) {
  const std::string good = folder_.file("good", kGood);
  const std::string bad = folder_.file("bad", "model {\n  layer: 3\n}");
  const std::string message = config_error([&] { load({good, bad}, {}); });
  EXPECT_EQ(message, bad + ":2:3: model.layer: unknown field 'layer': did you mean model.layers?");
}

TEST(DefaultsTest, ThoseOfTheSchemaAndThoseOfOtherFields) {
  RunConfig config;
  config.mutable_model()->set_width(96);
  config.mutable_model()->set_heads(6);
  const RunConfig full = with_defaults(config);
  EXPECT_EQ(full.model().kv_heads(), 6);
  EXPECT_EQ(full.model().mlp_width(), 384);
  ASSERT_EQ(full.optimizer().betas_size(), 2);
  EXPECT_EQ(full.optimizer().betas(0), 0.9);
  EXPECT_EQ(full.optimizer().betas(1), 0.95);
  EXPECT_TRUE(full.model().has_norm_eps());
  EXPECT_TRUE(full.attention().lambda().has_scope());
  EXPECT_TRUE(full.train().has_seed());
  // The data and the ranks decide these.
  EXPECT_FALSE(full.model().has_vocab());
  EXPECT_FALSE(full.train().has_micro_batch());
  EXPECT_FALSE(full.schedule().has_decay_steps());
  EXPECT_EQ(full.train().length_case(), TrainConfig::LENGTH_NOT_SET);
}

TEST(DefaultsTest, KeepWhatIsSetAndRepeatWithoutChange) {
  RunConfig config;
  config.mutable_model()->set_kv_heads(1);
  config.mutable_model()->set_mlp_width(5);
  config.mutable_optimizer()->add_betas(0.5);
  config.mutable_data()->add_train()->set_prefix("a");
  const RunConfig full = with_defaults(config);
  EXPECT_EQ(full.model().kv_heads(), 1);
  EXPECT_EQ(full.model().mlp_width(), 5);
  EXPECT_EQ(full.optimizer().betas_size(), 1);
  EXPECT_TRUE(full.data().train(0).has_weight());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(full, with_defaults(full)));
}

TEST(DefaultsTest, DoNotOverflow) {
  RunConfig config;
  config.mutable_model()->set_width(std::numeric_limits<int64_t>::max());
  EXPECT_GT(with_defaults(config).model().mlp_width(), 0);
}

}  // namespace
}  // namespace dagpam::configs

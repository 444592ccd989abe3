// `--set field.path=value`: every kind of field, and every way to get it wrong.
#include <ostream>
#include <vector>

#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

RunConfig with(const std::vector<std::string>& overrides) { return load({}, overrides); }

TEST(OverrideTest, EveryScalarType) {
  EXPECT_EQ(with({"model.layers=15"}).model().layers(), 15);
  EXPECT_EQ(with({"model.layers=-3"}).model().layers(), -3);
  EXPECT_EQ(with({"train.seed=18446744073709551615"}).train().seed(), 18446744073709551615ULL);
  EXPECT_EQ(with({"optimizer.lr=3e-4"}).optimizer().lr(), 3e-4);
  EXPECT_EQ(with({"optimizer.lr=1"}).optimizer().lr(), 1.0);
  EXPECT_FALSE(with({"model.bias=false"}).model().bias());
  EXPECT_TRUE(with({"data.reset_positions=true"}).data().reset_positions());
  EXPECT_EQ(with({"attention.kind=DAGPAM"}).attention().kind(), AttentionConfig::DAGPAM);
}

TEST(OverrideTest, TextNeedsNoQuotes) {
  EXPECT_EQ(with({"name=two words # and = more"}).name(), "two words # and = more");
  EXPECT_EQ(with({"name=\"quoted\\tone\""}).name(), "quoted\tone");
  EXPECT_EQ(with({"name='it is'"}).name(), "it is");
  EXPECT_EQ(with({"name=it's"}).name(), "it's");
  EXPECT_EQ(with({"name=\xC3\xA9t\xC3\xA9"}).name(), "\xC3\xA9t\xC3\xA9");
  EXPECT_TRUE(with({"data.valid="}).data().has_valid());
}

TEST(OverrideTest, BlanksAroundAreIgnored) {
  EXPECT_EQ(with({" model.layers = 15 "}).model().layers(), 15);
}

TEST(OverrideTest, ListsReplace) {
  const RunConfig config =
      with({"optimizer.betas=0.9,0.95", "optimizer.betas=[0.8, 0.99]", "data.train={prefix: 'x'}",
            "data.train=[{prefix: 'a' weight: 2}, {prefix: 'b'}]"});
  ASSERT_EQ(config.optimizer().betas_size(), 2);
  EXPECT_EQ(config.optimizer().betas(0), 0.8);
  ASSERT_EQ(config.data().train_size(), 2);
  EXPECT_EQ(config.data().train(0).weight(), 2);
  EXPECT_EQ(config.data().train(1).prefix(), "b");
  EXPECT_EQ(with({"optimizer.betas=0.9", "optimizer.betas=[]"}).optimizer().betas_size(), 0);
}

TEST(OverrideTest, EntriesOfListsHaveNumbers) {
  const RunConfig config =
      with({"data.train.0.prefix=a", "data.train.1.prefix=b", "data.train.0.weight=0.25"});
  ASSERT_EQ(config.data().train_size(), 2);
  EXPECT_EQ(config.data().train(0).prefix(), "a");
  EXPECT_EQ(config.data().train(0).weight(), 0.25);
  EXPECT_EQ(config.data().train(1).prefix(), "b");
}

TEST(OverrideTest, BlocksMergeFieldByField) {
  for (const char* assignment :
       {"attention.lambda={mode: FIXED plus: 0.5}", "attention.lambda=mode: FIXED plus: 0.5"}) {
    const RunConfig config = with({"attention.lambda.minus=3", assignment});
    EXPECT_EQ(config.attention().lambda().mode(), LambdaConfig::FIXED);
    EXPECT_EQ(config.attention().lambda().plus(), 0.5);
    EXPECT_EQ(config.attention().lambda().minus(), 3);
  }
  EXPECT_EQ(with({"model={layers: 2}", "model={heads: 1}"}).model().layers(), 2);
}

TEST(OverrideTest, LengthReplacesTheOtherKindOfLength) {
  const RunConfig config = with({"train.steps=5", "train.tokens=6"});
  EXPECT_FALSE(config.train().has_steps());
  EXPECT_EQ(config.train().tokens(), 6);
}

struct Row {
  const char* assignment;
  const char* start;   // of the message
  const char* remedy;  // in it
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.assignment; }

class BadOverrideTest : public testing::TestWithParam<Row> {};

TEST_P(BadOverrideTest, IsRefusedAndChangesNothing) {
  const Row& row = GetParam();
  RunConfig config = with({"model.layers=2", "data.train.0.prefix=a"});
  const std::string before = print(config);
  const std::string message = config_error([&] { apply_override(config, row.assignment); });
  EXPECT_EQ(message.rfind(row.start, 0), 0U) << message;
  EXPECT_TRUE(contains(message, row.remedy)) << message;
  EXPECT_EQ(print(config), before);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadOverrideTest,
    testing::Values(
        Row{"", "--set '': no '='", "write field.path=value"},
        Row{"model.layers", "--set 'model.layers': no '='", "write field.path=value"},
        Row{"=3", "--set '=3': no field before '='", "write field.path=value"},
        Row{"model.laers=3", "--set model.laers: unknown field 'laers'", "mean model.layers?"},
        Row{"modle.layers=3", "--set modle.layers: unknown field 'modle'", "did you mean model?"},
        Row{"layers=3", "--set layers: unknown field 'layers'", "did you mean model.layers?"},
        Row{"model..layers=3", "--set model..layers: unknown field ''", "model has the fields"},
        Row{"model.layers.x=3", "--set model.layers.x: 'layers' is one value",
            "model.layers=VALUE"},
        Row{"model.layers=", "--set model.layers: no value after '='", "write one"},
        Row{"model.layers=four", "--set model.layers: 'four'", "layers: 4"},
        Row{"model.layers=1e3", "--set model.layers: '1e3'", "write 1000"},
        Row{"model.layers=3 width: 4", "--set model.layers: '3 width: 4' sets width too",
            "one --set for each"},
        Row{"model.layers=3 } model { width: 4", "--set model.layers: cannot read '}'", "write"},
        Row{"model.bias=yes", "--set model.bias: 'yes' is neither true nor false", "bias: true"},
        Row{"attention.kind=DAGPM", "--set attention.kind: 'DAGPM' is none of", "mean DAGPAM?"},
        Row{"attention.lambda={mode: FIXD}", "--set attention.lambda.mode: 'FIXD'", "mean FIXED?"},
        Row{"attention.lambda={mdoe: FIXED}", "--set attention.lambda.mdoe: unknown field 'mdoe'",
            "did you mean attention.lambda.mode?"},
        Row{"attention.lambda={mode: FIXED", "--set attention.lambda", "add a closing }"},
        Row{"model=3", "--set model: cannot read '3'", "write"},
        Row{"optimizer.betas=0.9,x", "--set optimizer.betas: 'x' is not a number", "0.9"},
        Row{"optimizer.betas.0=0.9", "--set optimizer.betas.0: 'betas' is a list",
            "optimizer.betas=[...]"},
        Row{"data.train=data/a", "--set data.train: 'data' is not a block", "prefix: \"data/"},
        Row{"data.train.2.prefix=b", "--set data.train.2: '2' is no entry of a list of 1",
            "from 0 to 1"},
        Row{"data.train.-1.prefix=b", "--set data.train.-1: '-1' is no entry", "from 0 to 1"},
        Row{"data.train.prefix=b", "--set data.train.prefix: 'prefix' is no entry",
            "data.train.0.prefix="},
        Row{"data.train.99999999999999999999.prefix=b", "--set data.train.99999999999999999999",
            "from 0 to 1"},
        Row{"data.train.0=b", "--set data.train.0: is a whole entry", "name one of its fields"},
        Row{"name=\xFF", "--set name: '\\xff' is not UTF-8", "UTF-8"},
        Row{"na\nme=1", "--set na\\nme: unknown field 'na\\nme'", "did you mean name?"}));

TEST(BadOverrideTest, DeepNestingIsRefused) {
  RunConfig config;
  const std::string deep = "optimizer.betas=" + std::string(100000, '[');
  EXPECT_TRUE(contains(config_error([&] { apply_override(config, deep); }), "optimizer.betas"));
}

}  // namespace
}  // namespace dagpam::configs

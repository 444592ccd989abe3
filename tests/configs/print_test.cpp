// A config as text reads back equal, has a digest of its own, and says where it differs from
// another.
#include <google/protobuf/util/message_differencer.h>

#include <set>

#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

using google::protobuf::util::MessageDifferencer;
using Paths = std::vector<std::string>;

RunConfig sample() {
  return load({},
              {"name=caf\xC3\xA9 \"7\"", "model.layers=3", "model.dropout=0", "optimizer.lr=0.1",
               "optimizer.eps=4.9e-324", "optimizer.betas=0.30000000000000004,0.95",
               "train.seed=18446744073709551615", "train.tokens=9223372036854775807",
               "data.train=[{prefix: 'a'}, {prefix: 'b' weight: 0.3333333333333333}]",
               "attention={kind: DAGPAM lambda: {mode: FIXED plus: -0.0}}"});
}

TEST(PrintTest, ReadsBackEqual) {
  const TempFolder folder;
  for (const RunConfig& config : {sample(), with_defaults(sample()), RunConfig()}) {
    const RunConfig again = load({folder.file("printed", print(config))}, {});
    EXPECT_TRUE(MessageDifferencer::Equals(config, again)) << print(config);
    EXPECT_EQ(print(config), print(again));
  }
}

TEST(PrintTest, OneFieldALineInSchemaOrder) {
  const RunConfig config = load({}, {"train.seed=1", "model.width=8", "model.layers=2"});
  EXPECT_EQ(print(config), "model {\n  layers: 2\n  width: 8\n}\ntrain {\n  seed: 1\n}\n");
}

TEST(PrintTest, KeepsLettersOfOtherAlphabets) {
  EXPECT_EQ(print(load({}, {"name=\xC3\xA9"})), "name: \"\xC3\xA9\"\n");
}

TEST(DigestTest, IsThatOfThePrintedText) {
  // xxh128sum of the two texts: the same on every machine and in every version.
  EXPECT_EQ(digest(RunConfig()), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(digest(load({}, {"model.layers=4"})), "07fd52515ae37ec007cf585318aaccdb");
  EXPECT_EQ(digest(sample()), digest(sample()));
}

TEST(DigestTest, ChangesWithEveryField) {
  std::set<std::string> digests = {digest(sample())};
  for (const char* change : {"name=x", "model.layers=4", "model.dropout=1e-300", "train.seed=0",
                             "optimizer.betas=0.3,0.95", "data.train.1.prefix=c"}) {
    RunConfig config = sample();
    apply_override(config, change);
    digests.insert(digest(config));
  }
  EXPECT_EQ(digests.size(), 7U);
}

TEST(DifferingFieldsTest, NoneBetweenEqualConfigs) {
  EXPECT_EQ(differing_fields(sample(), sample()), Paths());
  EXPECT_EQ(differing_fields(RunConfig(), RunConfig()), Paths());
}

TEST(DifferingFieldsTest, InSchemaOrder) {
  const RunConfig a = sample();
  RunConfig b = a;
  for (const char* change :
       {"log.every=3", "train.seed=3", "attention.lambda.plus=2", "optimizer.betas=0.9,0.95",
        "data.train.1.weight=3", "model.layers=4"}) {
    apply_override(b, change);
  }
  const Paths expected = {"model.layers",        "attention.lambda.plus",
                          "data.train.1.weight", "optimizer.betas",
                          "train.seed",          "log.every"};
  EXPECT_EQ(differing_fields(a, b), expected);
  EXPECT_EQ(differing_fields(b, a), expected);
}

TEST(DifferingFieldsTest, LeftOutIsTheDefaultOfTheSchema) {
  EXPECT_EQ(differing_fields(RunConfig(), load({}, {"model.layers=4", "log={}"})), Paths());
  // These have none there.
  EXPECT_EQ(differing_fields(RunConfig(), load({}, {"model.vocab=0", "data.valid="})),
            Paths({"model.vocab", "data.valid"}));
}

TEST(DifferingFieldsTest, OtherKindOfLengthAndOtherNumberOfEntries) {
  const RunConfig a = load({}, {"train.steps=3", "data.train.0.prefix=a"});
  const RunConfig b = load({}, {"train.tokens=3", "data.train=[]"});
  EXPECT_EQ(differing_fields(a, b), Paths({"data.train", "train.steps", "train.tokens"}));
}

TEST(DifferingFieldsTest, NumbersThatDifferInTheLastBit) {
  const RunConfig a = load({}, {"optimizer.lr=0.3"});
  const RunConfig b = load({}, {"optimizer.lr=0.30000000000000004"});
  EXPECT_EQ(differing_fields(a, b), Paths({"optimizer.lr"}));
}

}  // namespace
}  // namespace dagpam::configs

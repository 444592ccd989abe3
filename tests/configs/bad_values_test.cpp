// Configs that parse and make no sense: each is refused with the field's path, its value and the
// way out.
#include <ostream>
#include <vector>

#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

struct Row {
  const char* name;
  std::vector<std::string> overrides;  // of kGood
  const char* message;                 // begins with field path and value
  const char* remedy;
};

std::vector<Row> rows() {
  return {
      {"NanDropout", {"model.dropout=nan"}, "model.dropout: nan is not in [0, 1)", "as in 0.1"},
      {"NanRate", {"optimizer.lr=nan"}, "optimizer.lr: nan is not in (0, 1000]", "as in 1e-3"},
      {"NegativeNan", {"optimizer.eps=-nan"}, "optimizer.eps: ", "as in 1e-8"},
      {"InfiniteRate", {"optimizer.lr=inf"}, "optimizer.lr: inf", "as in 1e-3"},
      {"NegativeInfinity", {"model.norm_eps=-inf"}, "model.norm_eps: -inf", "as in 1e-5"},
      {"RateOverflows", {"optimizer.lr=1e999"}, "optimizer.lr: inf", "as in 1e-3"},
      {"NanLambda", {"attention.lambda.plus=nan"}, "attention.lambda.plus: nan", "finite"},
      {"InfiniteLambda", {"attention.lambda.minus=inf"}, "attention.lambda.minus: inf", "finite"},
      {"NegativeDropout", {"model.dropout=-0.1"}, "model.dropout: -0.1", "as in 0.1"},
      {"CertainDropout", {"model.attention_dropout=1"}, "model.attention_dropout: 1", "as in 0.1"},
      {"CertainSmoothing",
       {"train.label_smoothing=1"},
       "train.label_smoothing: 1 is not in [0, 1)",
       "as in 0.1"},
      {"NegativeSmoothing",
       {"train.label_smoothing=-0.1"},
       "train.label_smoothing: -0.1",
       "as in 0.1"},
      {"NanSmoothing", {"train.label_smoothing=nan"}, "train.label_smoothing: nan", "as in 0.1"},
      {"RoundingWithoutMasters",
       {"train.stochastic_rounding=true"},
       "train.stochastic_rounding: true rounds master weights",
       "choose precision BF16"},
      {"GraphOfPairs",
       {"parallel.cuda_graph=true", "model.kind=ENCODER_DECODER"},
       "parallel.cuda_graph: true repeats a step of one shape, but model.kind is ENCODER_DECODER",
       "leave cuda_graph out"},
      {"NegativeLayers",
       {"model.layers=-1"},
       "model.layers: -1 is not from 1 to 10000",
       "as in 12"},
      {"NoLayers", {"model.layers=0"}, "model.layers: 0", "as in 12"},
      {"LayersPastReason", {"model.layers=10001"}, "model.layers: 10001", "as in 12"},
      {"LargestWidth",
       {"model.width=9223372036854775807"},
       "model.width: 9223372036854775807",
       "as in 768"},
      {"SmallestWidth",
       {"model.width=-9223372036854775808"},
       "model.width: -9223372036854775808",
       "as in 768"},
      {"NoHeads", {"model.heads=0"}, "model.heads: 0", "divisor of model.width"},
      {"HeadsDoNotDivideWidth",
       {"model.heads=5"},
       "model.heads: 5 does not divide model.width 128",
       "choose a divisor of 128, e.g. 4"},
      {"MoreHeadsThanWidth",
       {"model.width=4", "model.heads=8"},
       "model.heads: 8 does not divide model.width 4",
       "e.g. 4"},
      {"KeyHeadsDoNotDivideHeads",
       {"model.kv_heads=3"},
       "model.kv_heads: 3 does not divide model.heads 4",
       "choose a divisor of 4, e.g. 2"},
      {"MoreKeyHeadsThanHeads",
       {"model.kv_heads=8"},
       "model.kv_heads: 8 does not divide model.heads 4",
       "e.g. 4"},
      {"NoKeyHeads", {"model.kv_heads=0"}, "model.kv_heads: 0", "leave it out"},
      {"RotaryOfOddHeads",
       {"model.width=20", "model.positions=ROTARY"},
       "model.positions: ROTARY turns pairs of channels, but the head width 20 / 4 = 5 is odd",
       "or LEARNED"},
      {"SinusoidalOfOddWidth",
       {"model.width=9", "model.heads=3", "model.positions=SINUSOIDAL"},
       "model.positions: SINUSOIDAL fills pairs of channels, but model.width 9 is odd",
       "choose an even width"},
      {"RotaryBaseOfOne", {"model.rotary_base=1"}, "model.rotary_base: 1 ", "as in 10000"},
      {"NoMlp", {"model.mlp_width=0"}, "model.mlp_width: 0", "4 x model.width"},
      {"NoContext", {"model.context=0"}, "model.context: 0", "as in 1024"},
      {"ContextPastReason", {"model.context=99999999"}, "model.context: 99999999", "as in 1024"},
      {"NegativeVocabulary", {"model.vocab=-1"}, "model.vocab: -1", "leave it out"},
      {"VocabularyPastReason", {"model.vocab=999999999"}, "model.vocab: 999999999", "leave it out"},
      {"NoNormEps", {"model.norm_eps=0"}, "model.norm_eps: 0 is not in (0, 1]", "as in 1e-5"},
      {"SquashOfFixedLambdas",
       {"attention.lambda.mode=FIXED", "attention.lambda.squash=SIGMOID"},
       "attention.lambda.squash: SIGMOID shapes trained lambdas, but attention.lambda.mode is "
       "FIXED",
       "choose mode TRAINED"},
      {"SigmoidFromOne",
       {"attention.lambda.squash=SIGMOID"},
       "attention.lambda.plus: 1 ",
       "as in 0.5"},
      {"SigmoidFromZero",
       {"attention.lambda.squash=SIGMOID", "attention.lambda.plus=0.5", "attention.lambda.minus=0"},
       "attention.lambda.minus: 0 ",
       "as in 0.5"},
      {"SoftplusFromZero",
       {"attention.lambda.squash=SOFTPLUS", "attention.lambda.minus=0"},
       "attention.lambda.minus: 0 ",
       "choose a positive one"},
      {"NoTrainingText", {"data.train=[]"}, "data.train: is empty", "dagpam data prepare"},
      {"EmptyPrefix", {"data.train.0.prefix="}, "data.train.0.prefix: '' is empty", "data/text"},
      {"MissingPrefix",
       {"data.train=[{weight: 2}]"},
       "data.train.0.prefix: '' is empty",
       "dagpam data prepare"},
      {"SamePrefixTwice",
       {"data.train=[{prefix: 'b'}, {prefix: 'b'}]"},
       "data.train.1.prefix: 'b' is listed a second time",
       "add the weights"},
      {"NoWeight", {"data.train.0.weight=0"}, "data.train.0.weight: 0 ", "drop the entry"},
      {"NegativeWeight",
       {"data.train.1.prefix=b", "data.train.1.weight=-1"},
       "data.train.1.weight: -1 ",
       "positive share"},
      {"InfiniteWeight", {"data.train.0.weight=inf"}, "data.train.0.weight: inf", "positive share"},
      {"LineBreakInPrefix",
       {"data.valid=a\nb"},
       "data.valid: 'a\\nb' has a control character",
       "printable text"},
      {"PrefixIsNotUtf8", {"data.test=\"a\\xff\""}, "data.test: 'a\\xff' is not UTF-8", "UTF-8"},
      {"LineSeparatorInName",
       {"name=a\xE2\x80\xA8"
        "b"},
       "name: 'a\\u2028b' has a control character",
       "printable text"},
      {"NothingMadeAhead", {"data.prefetch=0"}, "data.prefetch: 0", "as in 4"},
      {"NoRate", {"optimizer.lr=0"}, "optimizer.lr: 0 ", "as in 1e-3"},
      {"NegativeRate", {"optimizer.lr=-1e-3"}, "optimizer.lr: -0.001", "positive rate"},
      {"OneBeta",
       {"optimizer.betas=0.9"},
       "optimizer.betas: [0.9] is not two numbers",
       "write both"},
      {"ThreeBetas",
       {"optimizer.betas=0.9,0.95,0.99"},
       "optimizer.betas: [0.9, 0.95, 0.99] is not two numbers",
       "write both"},
      {"BetaOfOne",
       {"optimizer.betas=0.9,1"},
       "optimizer.betas.1: 1 is not in [0, 1)",
       "as in [0.9, 0.95]"},
      {"NanBeta", {"optimizer.betas=nan,0.9"}, "optimizer.betas.0: nan", "as in [0.9, 0.95]"},
      {"MomentumOfAdam",
       {"optimizer.momentum=0.9"},
       "optimizer.momentum: 0.9 is for SGD, but optimizer.kind is ADAMW",
       "choose kind SGD"},
      {"NegativeDecay", {"optimizer.weight_decay=-1"}, "optimizer.weight_decay: -1", "0 or more"},
      {"NegativeClip", {"optimizer.clip_norm=-1"}, "optimizer.clip_norm: -1", "no clipping"},
      {"NegativeWarmup", {"schedule.warmup_steps=-1"}, "schedule.warmup_steps: -1", "as in 100"},
      {"WarmupPastTheRun",
       {"schedule.warmup_steps=101"},
       "schedule.warmup_steps: 101 is more than train.steps 100",
       "train longer"},
      {"WarmupPastTheDecay",
       {"schedule.warmup_steps=60", "schedule.decay_steps=50"},
       "schedule.warmup_steps: 60 is more than schedule.decay_steps 50",
       "warm up for less"},
      {"FinalRateAbovePeak",
       {"schedule.final_ratio=1.5"},
       "schedule.final_ratio: 1.5",
       "as in 0.1"},
      {"NoDecayAtAll", {"schedule.decay_fraction=0"}, "schedule.decay_fraction: 0 ", "as in 0.2"},
      {"NoSteps", {"train.steps=0"}, "train.steps: 0 is not from 1", "as in 1000"},
      {"NegativeTokens", {"train.tokens=-5"}, "train.tokens: -5", "as in 1000000"},
      {"NoEpochs", {"train.epochs=0"}, "train.epochs: 0 ", "as in 1.5"},
      {"NanEpochs", {"train.epochs=nan"}, "train.epochs: nan", "as in 1.5"},
      {"TokensOverflow",
       {"train.steps=1099511627776", "train.global_batch=16777216", "model.context=16777216"},
       "train.steps: 1099511627776 steps of 16777216 x 16777216 tokens",
       "fewer steps"},
      {"NoBatch", {"train.global_batch=0"}, "train.global_batch: 0", "as in 12"},
      {"BatchPastReason",
       {"train.global_batch=4611686018427387904"},
       "train.global_batch: 4611686018427387904",
       "as in 12"},
      {"NoMicroBatch", {"train.micro_batch=0"}, "train.micro_batch: 0", "leave it out"},
      {"MicroBatchDoesNotDivide",
       {"train.micro_batch=5"},
       "train.micro_batch: 5 does not divide train.global_batch 12",
       "e.g. 4"},
      {"NegativeEvalEvery", {"train.eval_every=-1"}, "train.eval_every: -1", "0 for the end"},
      {"NoBucket", {"parallel.bucket_mib=0"}, "parallel.bucket_mib: 0 ", "as in 25"},
      {"NegativeTimeout", {"parallel.timeout_s=-600"}, "parallel.timeout_s: -600", "as in 600"},
      {"NegativeKeep", {"checkpoint.keep=-1"}, "checkpoint.keep: -1", "0 for all"},
      {"NoLogInterval", {"log.every=0"}, "log.every: 0", "as in 10"},
      {"NegativeAnalyzeEvery", {"log.analyze_every=-1"}, "log.analyze_every: -1", "0 for none"},
      {"AnalyzesNothing",
       {"log.analyze_every=5", "data.valid="},
       "log.analyze_every: 5 analyses the model on data.valid",
       "set data.valid"},
      {"AnalyzesACutModel",
       {"log.analyze_every=5", "data.valid=a", "parallel.tensor=2"},
       "log.analyze_every: 5 needs a copy of the model on one rank, but parallel.tensor 2",
       "dagpam analyze"},
      {"AnalyzesATranslator",
       {"log.analyze_every=5", "model.kind=ENCODER_DECODER"},
       "log.analyze_every: 5 analyses a language model, but model.kind is ENCODER_DECODER",
       "log.analyze_every to 0"},
  };
}

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class BadValuesTest : public testing::TestWithParam<Row> {};

TEST_P(BadValuesTest, IsRefusedInOneLine) {
  const TempFolder folder;
  const Row& row = GetParam();
  const RunConfig config = load({folder.file("run.textproto", kGood)}, row.overrides);
  const std::string message = config_error([&] { validate(config); });
  EXPECT_EQ(message.rfind(row.message, 0), 0U) << message;
  EXPECT_TRUE(contains(message, row.remedy)) << message;
  EXPECT_EQ(config_error([&] { validate(with_defaults(config)); }), message);
}

INSTANTIATE_TEST_SUITE_P(Table, BadValuesTest, testing::ValuesIn(rows()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(LengthTest, OneOfThreeMustBeSet) {
  RunConfig config;
  config.mutable_data()->add_train()->set_prefix("a");
  const std::string message = config_error([&] { validate(config); });
  EXPECT_TRUE(contains(message, "none of train.steps, train.tokens and train.epochs is set"));
  config.mutable_train()->set_epochs(0.5);
  validate(config);
}

TEST(MicroBatchTest, IsTheRanksShareUnlessSet) {
  RunConfig config;
  config.mutable_train()->set_global_batch(24);
  EXPECT_EQ(micro_batch(config, 1), 24);
  EXPECT_EQ(micro_batch(config, 2), 12);
  EXPECT_EQ(micro_batch(config, 24), 1);
  config.mutable_train()->set_micro_batch(4);
  EXPECT_EQ(micro_batch(config, 2), 4);
  EXPECT_EQ(micro_batch(config, 6), 4);
}

TEST(MicroBatchTest, RefusesWhatDoesNotDivide) {
  RunConfig config;
  config.mutable_train()->set_global_batch(32);
  EXPECT_EQ(config_error([&] { micro_batch(config, 3); }),
            "train.global_batch: 32 sequences do not divide over 3 copies of the model (ranks / "
            "parallel.tensor): choose a multiple of 3, e.g. 33");
  EXPECT_TRUE(contains(config_error([&] { micro_batch(config, 31); }), "31 copies"));
  EXPECT_TRUE(contains(config_error([&] { micro_batch(config, 64); }), "e.g. 64"));
  EXPECT_TRUE(contains(config_error([&] { micro_batch(config, 0); }), "ranks: 0"));
  config.mutable_train()->set_micro_batch(5);
  EXPECT_EQ(config_error([&] { micro_batch(config, 2); }),
            "train.micro_batch: 5 does not divide a copy's 16 sequences (global_batch 32 / 2 "
            "copies): choose a divisor, e.g. 4");
  config.mutable_train()->set_micro_batch(32);
  EXPECT_TRUE(contains(config_error([&] { micro_batch(config, 2); }), "e.g. 16"));
}

}  // namespace
}  // namespace dagpam::configs

// Texts and files that are no config: each is refused with its place, what stands there and what to
// do.
#include <sys/stat.h>
#include <unistd.h>

#include <ostream>
#include <random>
#include <vector>

#include "configs/parse.h"
#include "tests/configs/fixture.h"

namespace dagpam::configs {
namespace {

struct Row {
  const char* name;
  std::string text;
  const char* where;   // place in the file and path of the field
  const char* found;   // what stands there
  const char* remedy;  // what to do
};

std::string repeat(const std::string& part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

std::vector<Row> rows() {
  return {
      {"UnknownField", "model { laers: 3 }", ":1:9: model.laers:", "'laers'", "mean model.layers?"},
      {"UnknownBlock", "\n modle { }", ":2:2: modle:", "'modle'", "did you mean model?"},
      {"UnknownNestedField", "attention { lambda {\n  squish: SIGMOID } }",
       ":2:3: attention.lambda.squish:", "'squish'", "did you mean attention.lambda.squash?"},
      {"UnknownListField", "data { train { path: \"a\" } }", ":1:16: data.train.path:", "'path'",
       "data.train has the fields prefix and weight"},
      {"FieldOfAnotherBlock", "optimizer { warmup_steps: 3 }",
       ":1:13: optimizer.warmup_steps:", "'warmup_steps'", "did you mean schedule.warmup_steps?"},
      {"FieldWithoutItsBlock", "lr: 0.1", ":1:1: lr:", "'lr'", "did you mean optimizer.lr?"},
      {"NameOfAnotherProgram", "n_layer: 12", ":1:1: n_layer:", "'n_layer'", "model.layers?"},
      {"NameCutShort", "schedule { warmup: 3 }", ":1:12: schedule.warmup:", "'warmup'",
       "did you mean schedule.warmup_steps?"},
      {"FieldLikeNothing", "optimizer { zzzzzzzz: 1 }", ":1:13: optimizer.zzzzzzzz:", "'zzzzzzzz'",
       "optimizer has the fields kind, lr, betas"},
      {"UpperCaseField", "Model { }", ":1:1: Model:", "'Model'", "did you mean model?"},
      {"GivenTwice", "model {\n  layers: 4\n  layers: 5\n}", ":3:3: model.layers:", "'layers'",
       "keep one"},
      {"BlockTwice", "model { heads: 2 }\nmodel { layers: 2 }", ":2:1: model:", "'model'",
       "keep one"},
      {"TwoLengths", "train { steps: 4 tokens: 2 }", ":1:18: train.tokens:", "'tokens'",
       "steps, tokens or epochs: keep one"},
      {"WordForInteger", "model { layers: four }", ":1:17: model.layers:", "'four'", "layers: 4"},
      {"FractionForInteger", "model { layers: 4.5 }", ":1:17: model.layers:", "'4.5'", "layers: 4"},
      {"ExponentForInteger", "train { tokens: 1e9 }", ":1:17: train.tokens:", "'1e9'",
       "write 1000000000"},
      {"TextForInteger", "model { layers: \"4\" }", ":1:17: model.layers:", "'\"4\"'", "layers: 4"},
      {"ListForInteger", "model { layers: [4, 5] }", ":1:17: model.layers:", "'['", "layers: 4"},
      {"BlockForInteger", "model { layers { } }", ":1:16: model.layers:", "'{'", "layers: 4"},
      {"MissingInteger", "model { layers: }", ":1:17: model.layers:", "missing", "layers: 4"},
      {"MissingColon", "model { layers 4 }", ":1:16: model.layers:", "'4'", "write layers: 4"},
      {"EqualsForColon", "model { layers = 4 }", ":1:16: model.layers:", "'='", "write layers: 4"},
      {"IntegerTooLarge", "model { layers: 99999999999999999999 }",
       ":1:17: model.layers:", "'99999999999999999999'", "64 bits"},
      {"IntegerTooSmall", "model { layers: -99999999999999999999 }",
       ":1:18: model.layers:", "'-99999999999999999999'", "64 bits"},
      {"NegativeSeed", "train { seed: -5 }", ":1:15: train.seed:", "'-5'", "0 or more"},
      {"SeedTooLarge", "train { seed: 18446744073709551616 }",
       ":1:15: train.seed:", "'18446744073709551616'", "64 bits"},
      {"WordForNumber", "optimizer { lr: fast }", ":1:17: optimizer.lr:", "'fast'", "lr: 0.001"},
      {"NumberWithUnit", "parallel { timeout_s: 10min }", ":1:25: parallel.timeout_s:", "'min'",
       "write"},
      {"TextForNumber", "optimizer { lr: \"1e-3\" }", ":1:17: optimizer.lr:", "'\"1e-3\"'",
       "lr: 0.001"},
      {"MissingNumber", "optimizer { lr: }", ":1:17: optimizer.lr:", "missing", "lr: 0.001"},
      {"WordInList", "optimizer { betas: [0.9, x] }", ":1:26: optimizer.betas:", "'x'", "0.9"},
      {"ListInList", "optimizer { betas: [[0.9]] }", ":1:21: optimizer.betas:", "'['", "0.9"},
      {"WordForFlag", "model { bias: maybe }", ":1:15: model.bias:", "'maybe'", "bias: true"},
      {"NumberForFlag", "model { bias: 2 }", ":1:15: model.bias:", "'2'", "bias: true"},
      {"WordForText", "data { valid: foo }", ":1:15: data.valid:", "'foo'", "valid: \"data/text\""},
      {"NumberForText", "name: 7", ":1:7: name:", "'7'", "quoted"},
      {"OpenQuote", "data { valid: \"foo }", ":1:21: data.valid:", "no end", "closing quote"},
      {"EnumSlip", "attention { kind: DAGPM }", ":1:19: attention.kind:",
       "'DAGPM' is none of SOFTMAX, SOFTMAX_WIDE, DAGPAM, NON, NAP, CODA, COG, DIFF or DIFF2",
       "did you mean DAGPAM?"},
      {"EnumLowerCase", "model { mlp: swiglu }", ":1:14: model.mlp:", "'swiglu'", "mean SWIGLU?"},
      {"EnumLikeNothing", "optimizer { kind: LION }",
       ":1:19: optimizer.kind:", "'LION' is none of ADAMW or SGD", "choose one"},
      {"EnumNumber", "attention { kind: 70 }", ":1:19: attention.kind:", "'70'", "choose one"},
      {"EnumQuoted", "attention { kind: \"DAGPAM\" }", ":1:19: attention.kind:", "'\"DAGPAM\"'",
       "did you mean DAGPAM?"},
      {"NumberForBlock", "model: 5", ":1:8: model:", "'5'", "write model {"},
      {"IndentForBraces", "model:\n  layers: 3\n", ":2:3: model:", "'layers'", "write model {"},
      {"NoClosingBrace", "train {\n  steps: 3\n", ":1:1: train", "open", "add a closing }"},
      {"StrayBrace", "model { }\n}", ":2:1:", "'}'", "write `field: value`"},
      {"WrongBracket", "model { layers: 4 ]", ":1:19: model.layers:", "']'",
       "write `field: value`"},
      {"Json", "{\"model\": {\"layers\": 3}}", ":1:1:", "'{'", "write `field: value`"},
      {"FieldNumber", "1: 3", ":1:1:", "'1'", "write `field: value`"},
      {"Extension", "[foo.bar]: 3", ":1:10:", "foo.bar", "write `field: value`"},
      {"NotUtf8", "name: \"caf\xC3\xA9\"\nmodel { \xFF }", ":2:9:", "\\xff",
       "save the text as UTF-8"},
      {"Utf16", std::string("\xFF\xFEm\0o\0", 6), ":1:1:", "\\xff", "save the text as UTF-8"},
      {"CutUtf8", "name: \"caf\xC3\"", ":1:11:", "\\xc3", "save the text as UTF-8"},
      {"OverlongUtf8", "name: \"\xC0\xAF\"", ":1:8:", "\\xc0", "save the text as UTF-8"},
      {"ZeroByte", std::string("model { }\0", 10), ":1:10:", "control character", "plain text"},
      {"TabsBeforeTheField", "model {\n\t\tlaers: 3 }", ":2:3: model.laers:", "'laers'", "layers?"},
      {"WideCharactersBefore", "name: \"\xE4\xB8\xAD\" modle { }", ":1:11: modle:", "'modle'",
       "did you mean model?"},
      {"HundredThousandBlocks", repeat("model { ", 100000), ":1:9: model.model:", "'model'",
       "model?"},
      {"HundredThousandBraces", repeat("{", 100000), ":1:1:", "'{'", "write `field: value`"},
      {"HundredThousandBrackets", "optimizer { betas: " + repeat("[", 100000),
       ":1:21: optimizer.betas:", "'['", "0.9"},
      {"LongName", repeat("x", 500000) + ": 1", ":1:1: xxx", "...'",
       "a config has the fields name"},
      {"LongValue", "attention { kind: " + repeat("D", 500000) + " }",
       ":1:19: attention.kind:", "...'", "choose one"},
  };
}

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class BadSyntaxTest : public testing::TestWithParam<Row> {};

TEST_P(BadSyntaxTest, IsRefusedInOneLine) {
  const TempFolder folder;
  const Row& row = GetParam();
  const std::string file = folder.file("run.textproto", row.text);
  const std::string message = config_error([&] { load({file}, {}); });
  EXPECT_TRUE(contains(message, file + row.where)) << message;
  EXPECT_TRUE(contains(message, row.found)) << message;
  EXPECT_TRUE(contains(message, row.remedy)) << message;
}

INSTANTIATE_TEST_SUITE_P(Table, BadSyntaxTest, testing::ValuesIn(rows()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(BadFileTest, MissingFileNamesItsNeighbour) {
  const TempFolder folder;
  const std::string there = folder.file("kjv_tiny.textproto", kGood);
  const std::string asked = folder.path() + "/kjv_tiny.textprot";
  const std::string message = config_error([&] { load({asked}, {}); });
  EXPECT_EQ(message, "--config " + asked + ": no such file: did you mean " + there + "?");
}

TEST(BadFileTest, MissingFileInMissingFolder) {
  const std::string message = config_error([] { load({"no/such/folder/a.textproto"}, {}); });
  EXPECT_TRUE(contains(message, "no/such/folder/a.textproto: no such file")) << message;
}

TEST(BadFileTest, EmptyName) {
  EXPECT_TRUE(
      contains(config_error([] { load({""}, {}); }), "--config '': the file's name is empty"));
}

TEST(BadFileTest, Folder) {
  const TempFolder folder;
  EXPECT_TRUE(
      contains(config_error([&] { load({folder.path()}, {}); }), folder.path() + ": is a folder"));
}

TEST(BadFileTest, LineBreakInTheName) {
  EXPECT_TRUE(contains(config_error([] { load({"a\nb"}, {}); }), "--config a\\nb: no such file"));
}

TEST(BadFileTest, FileAsFolder) {
  const TempFolder folder;
  const std::string file = folder.file("a", kGood) + "/b";
  EXPECT_TRUE(contains(config_error([&] { load({file}, {}); }), "Not a directory"));
}

TEST(BadFileTest, Unreadable) {
  const TempFolder folder;
  const std::string file = folder.file("secret.textproto", kGood);
  ASSERT_EQ(chmod(file.c_str(), 0), 0);
  // Root reads everything, so it becomes nobody for a moment.
  constexpr uid_t kNobody = 65534;
  const uid_t user = geteuid();
  ASSERT_EQ(seteuid(user == 0 ? kNobody : user), 0);
  const std::string message = config_error([&] { load({file}, {}); });
  ASSERT_EQ(seteuid(user), 0);
  EXPECT_TRUE(contains(message, file + ": cannot be read (Permission denied)")) << message;
}

TEST(BadFileTest, PipeWithoutWriterDoesNotBlock) {
  const TempFolder folder;
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(contains(config_error([&] { load({pipe}, {}); }), "is no regular file"));
}

TEST(BadFileTest, Device) {
  EXPECT_TRUE(contains(config_error([] { load({"/dev/zero"}, {}); }), "is no regular file"));
}

TEST(BadFileTest, GigabyteIsRefusedByItsSize) {
  const TempFolder folder;
  const std::string file = folder.file("large.textproto", "");
  ASSERT_EQ(truncate(file.c_str(), 1 << 30), 0);
  EXPECT_TRUE(contains(config_error([&] { load({file}, {}); }), "holds 1073741824 bytes"));
}

TEST(BadFileTest, OneMebibyteIsTheLimit) {
  const TempFolder folder;
  const std::string fits = std::string((1 << 20) - 10, ' ') + "name: \"a\" ";
  EXPECT_EQ(load({folder.file("fits", fits)}, {}).name(), "a");
  const std::string larger = folder.file("larger", fits + " ");
  EXPECT_TRUE(contains(config_error([&] { load({larger}, {}); }), "holds 1048577 bytes"));
}

// Whatever bytes are changed: a config or a ConfigError of one line, nothing else.
TEST(MutationTest, EndsInAConfigOrOneLine) {
  const std::string good = std::string(kGood) +
                           "name: \"a\\tb\" # why\nmodel { layers: 4 dropout: 1e-1 bias: true }\n"
                           "attention { kind: DAGPAM lambda { plus: -0.5 } }\n"
                           "optimizer < betas: [0.9, 0.95] >;\n";
  const std::string alphabet = "{}<>[]:;,\"'\\#-.eE019xTf_a \n\t\x01\xC3\xFF";
  std::mt19937 random(7);  // NOLINT: the same cases in every run
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int refused = 0;
  constexpr int kCases = 20000;
  for (int i = 0; i < kCases; ++i) {
    std::string text = good;
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      const size_t at = below(text.size());
      const size_t kind = below(3);
      if (kind == 0) text.erase(at, 1 + below(8));
      if (kind == 1) text.insert(at, 1, alphabet[below(alphabet.size())]);
      if (kind == 2) text[at] = alphabet[below(alphabet.size())];
    }
    try {
      RunConfig config;
      Written written;
      parse_text(text, {"mutant", ""}, config, written);
      validate(config);
    } catch (const ConfigError& error) {
      ++refused;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << text;
    }
  }
  EXPECT_GT(refused, kCases / 2);
  EXPECT_LT(refused, kCases);
}

}  // namespace
}  // namespace dagpam::configs

// A configuration: lines that begin with "--set " are overrides, the rest is the text-format file.
#include <sstream>

#include "configs/parse.h"
#include "configs/run_config.h"
#include "tests/fuzz/target.h"

namespace dagpam::fuzz {
namespace {

constexpr const char* kGood = R"(name: "fuzz"
model { layers: 2 width: 32 heads: 4 context: 16 dropout: 0.1 }
attention { kind: DAGPAM lambda { scope: HEAD } }
data { train { prefix: "data/a" weight: 0.5 } train { prefix: "data/b" } valid: "data/a" }
optimizer { lr: 1e-3 betas: [0.9, 0.99] }
train { steps: 100 global_batch: 8 micro_batch: 2 precision: FP32 }
parallel { tensor: 2 zero: 1 }
checkpoint { every: 10 keep: 3 }
)";

bool passes(const configs::RunConfig& config) {
  try {
    configs::validate(config);
    return true;
  } catch (const ConfigError& error) {
    require_one_line(error);
    return false;
  }
}

// What the program saves, it can read.
void require_survives_printing(const configs::RunConfig& config) {
  const std::string printed = configs::print(config);
  configs::RunConfig again;
  configs::Written written;
  try {
    configs::parse_text(printed, {"printed", ""}, again, written);
  } catch (const ConfigError& error) {
    require(false, std::string("what is printed parses: ") + error.what());
  }
  require(configs::print(again) == printed, "print and parse give the same config");
  require(configs::differing_fields(config, again).empty(), "no field differs after printing");
}

}  // namespace

std::vector<Seed> seeds() {
  const std::string good = kGood;
  std::string nested;
  for (int i = 0; i < 3000; ++i) nested += "model{";
  return {{good, true},
          {good + "--set model.layers=3\n--set data.train=[{prefix: 'x' weight: 2}]\n", true},
          {good + "--set optimizer.betas=0.8,0.9\n--set name=a b c\n", true},
          {good + "--set data.train.1.weight=3\n--set model.width=0x40\n", true},
          {nested, false},
          {"model { layers: [1, 2] }", false},
          {"model { layers: -99999999999999999999 }", false},
          {"model { layers: 1 layers: 2 }", false},
          {"model { depth: 1 }", false},
          {"train { precision: FP4 }", false},
          {"name: \"\\377\\0\\n\"", false},
          {"name: 'a\n", false},
          {"\xff\xfe", false},
          {std::string("name: \"a\0b\"", 11), false},
          {good + "--set data.train.7.weight=3\n", false},
          {good + "--set model={layers: 1} train {steps: 1}\n", false},
          {good + "--set .=\n", false},
          {good + "--set model.=1\n", false},
          {good + "--set optimizer.betas.0=1\n", false}};
}

bool run(std::string_view input) {
  std::istringstream lines{std::string(input)};
  std::string text, line;
  std::vector<std::string> overrides;
  while (std::getline(lines, line)) {
    constexpr std::string_view kSet = "--set ";
    if (line.starts_with(kSet)) {
      overrides.push_back(line.substr(kSet.size()));
    } else {
      text += line + "\n";
    }
  }
  configs::RunConfig config;
  try {
    configs::RunConfig part;
    configs::Written written;
    configs::parse_text(text, {"fuzz.textproto", ""}, part, written);
    configs::overlay(config, part, written);
    for (const std::string& assignment : overrides) configs::apply_override(config, assignment);
  } catch (const ConfigError& error) {
    require_one_line(error);
    return false;
  }
  const bool good = passes(config);
  require(passes(configs::with_defaults(config)) == good, "defaults do not change the verdict");
  if (good) require_survives_printing(config);
  return good;
}

}  // namespace dagpam::fuzz

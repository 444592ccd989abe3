// `dagpam data`: text to token files, and what is in them.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "configs/run_config.h"
#include "data/batch_source.h"
#include "data/encode_stream.h"
#include "data/ngram.h"
#include "data/tokenizer.h"
#include "data/verify.h"
#include "launch/pairs_command.h"
#include "launch/prepare_command.h"
#include "launch/program.h"
#include "launch/sets_command.h"
#include "trainer/run_data.h"
#include "trainer/run_plan.h"

namespace dagpam::launch {

namespace {

struct Arguments {
  std::string prefix, split = "valid", tokenizer;
  std::vector<int> orders{3, 5};
  ConfigArguments config;
  int64_t step = 1, steps = 1;
  int64_t batch_tokens = 0;
  bool json = false, prompts = false;
};

void print_report(const data::DatasetReport& report, bool verified) {
  if (report.pairs) print_pairs(report.prefix, *report.pairs);
  if (report.sidecar) {
    std::printf("%s: vocabulary %lld, tokenizer %s\n", report.prefix.c_str(),
                static_cast<long long>(report.sidecar->vocab_size),
                report.sidecar->tokenizer_digest.c_str());
  }
  for (const data::SplitReport& split : report.splits) {
    std::printf("  %-*s %12lld tokens %8lld documents %8lld sequences %4s  digest %s",
                report.pairs ? 12 : 5, split.name.c_str(), static_cast<long long>(split.tokens),
                static_cast<long long>(split.documents), static_cast<long long>(split.sequences),
                split.token_type.c_str(), split.digest.c_str());
    if (verified) std::printf("  %s", split.problem.empty() ? "good" : "BAD");
    std::printf("\n");
  }
}

void verify(const Arguments& arguments) {
  const data::DatasetReport report = data::verify_dataset(arguments.prefix);
  print_report(report, true);
  for (const data::SplitReport& split : report.splits) {
    if (!split.problem.empty()) throw DataError(split.problem);
  }
}

void ngram(const Arguments& arguments) {
  for (const int order : arguments.orders) {
    const data::NgramResult result = data::ngram_baseline(arguments.prefix, order, arguments.split);
    if (arguments.json) {
      const nlohmann::ordered_json row{{"order", result.order},
                                       {"tokens", result.tokens},
                                       {"nll", result.nll},
                                       {"bpc", result.bits_per_character}};
      std::printf("%s\n", row.dump().c_str());
    } else {
      std::printf(
          "%d-gram, interpolated Kneser-Ney: tokens %lld  nll %.5f nats  bits per character %.4f\n",
          result.order, static_cast<long long>(result.tokens), result.nll,
          result.bits_per_character);
    }
  }
}

void encode(const Arguments& arguments) {
  const auto tokenizer = data::make_tokenizer(arguments.tokenizer, "");
  data::encode_json_lines(*tokenizer, std::cin, std::cout,
                          arguments.prompts ? data::EncodedAs::kPrompt : data::EncodedAs::kText);
}

void order(const Arguments& arguments) {
  const trainer::RunPlan plan =
      trainer::plan_run(configs::load(arguments.config.files, arguments.config.overrides), 1);
  const int64_t batch = plan.config.train().global_batch();
  data::for_each_sample(
      plan.config.data(), trainer::batch_options(plan, 0), (arguments.step - 1) * batch,
      arguments.steps * batch, [&](const data::SamplePlace& place) {
        const std::string& prefix =
            plan.config.data().train(static_cast<int>(place.source)).prefix();
        const int64_t step = place.sample / batch + 1;
        if (arguments.json) {
          const nlohmann::ordered_json row{{"step", step},
                                           {"sample", place.sample},
                                           {"source", prefix},
                                           {"token", place.offset}};
          std::printf("%s\n", row.dump().c_str());
        } else {
          std::printf("step %lld  sample %lld  %s from token %lld\n", static_cast<long long>(step),
                      static_cast<long long>(place.sample), prefix.c_str(),
                      static_cast<long long>(place.offset));
        }
      });
}

void add_order(CLI::App& parent, const std::shared_ptr<Arguments>& arguments) {
  CLI::App* command = parent.add_subcommand(
      "order", "Where the training samples of a run's steps stand in its data");
  arguments->config.add_to(*command);
  command->add_option("--step", arguments->step, "First step, counted from 1")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--steps", arguments->steps, "How many steps")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_flag("--json", arguments->json, "One JSON object a sample");
  command->callback([arguments] { order(*arguments); });
}

CLI::App* add_with_prefix(CLI::App& parent, const char* name, const char* help,
                          const std::shared_ptr<Arguments>& arguments) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->add_option("prefix", arguments->prefix, "Prefix of `data prepare`, or llm.c's .bin file")
      ->required();
  return command;
}

}  // namespace

void add_data_command(CLI::App& app, Program& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* data = app.add_subcommand("data", "Prepare, look at and check data sets");
  data->require_subcommand(1);
  add_prepare_command(*data, program);
  add_pairs_command(*data);
  add_sets_commands(*data);
  CLI::App* const info = add_with_prefix(*data, "info", "Counts of every split", arguments);
  info->add_option("--batch-tokens", arguments->batch_tokens,
                   "Of sentence pairs: also how batches of at most so many tokens fill")
      ->check(CLI::Range(int64_t{1}, int64_t{INT32_MAX}));
  info->callback([arguments] {
    print_report(data::describe_dataset(arguments->prefix), false);
    if (arguments->batch_tokens > 0) print_padding(arguments->prefix, arguments->batch_tokens);
  });
  add_with_prefix(*data, "verify", "Check every index entry, token id and digest", arguments)
      ->callback([arguments] { verify(*arguments); });

  CLI::App* baseline =
      add_with_prefix(*data, "ngram", "n-gram baseline: train on train, score a split", arguments);
  baseline->add_option("--order", arguments->orders, "Orders, e.g. 3,5")
      ->delimiter(',')
      ->capture_default_str();
  baseline->add_option("--split", arguments->split, "Split to score")
      ->capture_default_str()
      ->check(CLI::IsMember({"valid", "test"}));
  baseline->add_flag("--json", arguments->json, "One JSON object a row");
  baseline->callback([arguments] { ngram(*arguments); });

  add_order(*data, arguments);

  CLI::App* encoder = data->add_subcommand(
      "encode", "Standard input, a JSON string a line, to token ids, a JSON array a line");
  encoder
      ->add_option("--tokenizer", arguments->tokenizer,
                   "byte, gpt2:DIR, spm:MODEL or json:FILE (that of a data set)")
      ->required()
      ->type_name("T");
  encoder->add_flag("--prompts", arguments->prompts,
                    "As prompts: word gives no <eos> for a last line without a line end");
  encoder->callback([arguments] { encode(*arguments); });
}

}  // namespace dagpam::launch
